// postgres.js: every `sql` is a pool; statements are prepared on their own.
'use strict';

const postgres = require('postgres');
const speak = require('./speak');

const pools = [];

function open(shape, max = 1) {
  const { user, ...place } = speak.place(shape);
  const sql = postgres({ ...place, username: user, max, onnotice: () => {} });
  pools.push(sql);
  return sql;
}

const insert = async (shape, sql, key) => {
  const result = await sql`INSERT INTO kept (key) VALUES (${key})`;
  speak.connection(shape, result.state.pid);
};

const count = async (sql, key) => {
  const [row] = await sql`SELECT count(*)::int AS found FROM kept WHERE key = ${key}`;
  return row.found;
};

async function autocommit(shape) {
  const sql = open(shape);
  await sql`SELECT 1`;
  speak.say(shape, 'ready');
  for await (const key of speak.keys()) {
    try {
      await insert(shape, sql, key);
      speak.say(shape, 'acknowledged', { keys: [key] });
    } catch (error) {
      speak.refused(shape, error, key);
    }
  }
}

async function transaction(shape) {
  const sql = open(shape, 2);
  await sql`SELECT 1`;
  speak.say(shape, 'ready');
  for await (const keys of speak.keys(2)) {
    const work = async (sql) => {
      for (const key of keys) {
        await insert(shape, sql, key);
        await count(sql, key);
        await speak.think();
      }
    };
    try {
      await speak.serialized(shape, keys, () => sql.begin(work));
      speak.say(shape, 'acknowledged', { keys });
    } catch (error) {
      speak.refused(shape, error, ...keys);
    }
  }
}

async function pool(shape) {
  const sql = open(shape, 4);
  await sql`SELECT 1`;
  speak.say(shape, 'ready');
  const work = async () => {
    for await (const key of speak.keys()) {
      try {
        await insert(shape, sql, key);
        speak.say(shape, 'acknowledged', { keys: [key] });
        speak.say(shape, 'read', { keys: [key], found: await count(sql, key) });
      } catch (error) {
        speak.refused(shape, error, key);
      }
    }
  };
  await Promise.all([work(), work(), work(), work()]);
}

async function listen(shape) {
  const sql = open(shape);
  await sql.listen('news', (payload) => speak.say(shape, 'heard', { text: payload }));
  speak.say(shape, 'ready');
  while (!speak.state.stopped) await speak.sleep(100);
}

async function idle(shape) {
  const sql = open(shape);
  await sql`SELECT 1`;
  speak.say(shape, 'ready');
  let seen = 0;
  while (await speak.untilWoken(seen)) {
    seen = speak.wakes();
    try {
      const result = await sql`SELECT 1`;
      speak.connection(shape, result.state.pid);
      speak.say(shape, 'woke');
    } catch (error) {
      speak.refused(shape, error);
    }
  }
}

speak.run({ autocommit, transaction, pool, listen, idle });
