// node-postgres: Client, Pool with connect() and release(), and pool.query().
'use strict';

const { Client, Pool } = require('pg');
const speak = require('./speak');
const { INSERT, COUNT } = speak;

// An error that comes while nothing is asked must not end the program, here as in production.
const unasked = (shape) => (error) => speak.refused(shape, error);

async function connect(shape) {
  const client = new Client(speak.place(shape));
  client.on('error', unasked(shape));
  await client.connect();
  speak.connection(shape, client.processID);
  return client;
}

function newPool(shape) {
  const pool = new Pool({ ...speak.place(shape), max: 4, min: 4, idleTimeoutMillis: 0 });
  pool.on('error', unasked(shape));
  pool.on('connect', (client) => speak.connection(shape, client.processID));
  return pool;
}

async function autocommit(shape) {
  const client = await connect(shape);
  speak.say(shape, 'ready');
  for await (const key of speak.keys()) {
    try {
      await client.query(INSERT, [key]);
      speak.say(shape, 'acknowledged', { keys: [key] });
    } catch (error) {
      speak.refused(shape, error, key);
    }
  }
}

async function inTransaction(pool, work) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await work(client);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}

async function transaction(shape) {
  const pool = newPool(shape);
  await pool.query('SELECT 1');
  speak.say(shape, 'ready');
  for await (const keys of speak.keys(2)) {
    const work = async (client) => {
      for (const key of keys) {
        await client.query(INSERT, [key]);
        await client.query(COUNT, [key]);
        await speak.think();
      }
    };
    try {
      await speak.serialized(shape, keys, () => inTransaction(pool, work));
      speak.say(shape, 'acknowledged', { keys });
    } catch (error) {
      speak.refused(shape, error, ...keys);
    }
  }
}

async function pool(shape) {
  const pool = newPool(shape);
  await pool.query('SELECT 1');
  speak.say(shape, 'ready');
  const work = async () => {
    for await (const key of speak.keys()) {
      const client = await pool.connect();
      try {
        await client.query(INSERT, [key]);
        speak.say(shape, 'acknowledged', { keys: [key] });
        const { rows } = await client.query(COUNT, [key]);
        speak.say(shape, 'read', { keys: [key], found: Number(rows[0].found) });
      } catch (error) {
        speak.refused(shape, error, key);
      } finally {
        client.release();
      }
    }
  };
  await Promise.all([work(), work(), work(), work()]);
}

// pool.query() gives its connection up on every error, whichever it is.
async function shortcut(shape) {
  const pool = newPool(shape);
  await pool.query('SELECT 1');
  speak.say(shape, 'ready');
  for await (const key of speak.keys()) {
    try {
      await pool.query(INSERT, [key]);
      speak.say(shape, 'acknowledged', { keys: [key] });
    } catch (error) {
      speak.refused(shape, error, key);
    }
  }
}

async function prepared(shape) {
  const client = await connect(shape);
  speak.say(shape, 'ready');
  for await (const key of speak.keys()) {
    try {
      await client.query({ name: 'insert', text: INSERT, values: [key] });
      speak.say(shape, 'acknowledged', { keys: [key] });
      const { rows } = await client.query({ name: 'count', text: COUNT, values: [key] });
      speak.say(shape, 'read', { keys: [key], found: Number(rows[0].found) });
    } catch (error) {
      speak.refused(shape, error, key);
    }
  }
}

async function listen(shape) {
  const client = await connect(shape);
  client.on('notification', ({ payload }) => speak.say(shape, 'heard', { text: payload }));
  await client.query('LISTEN news');
  speak.say(shape, 'ready');
  while (!speak.state.stopped) await speak.sleep(100);
}

async function idle(shape) {
  const client = await connect(shape);
  await client.query('SELECT 1');
  speak.say(shape, 'ready');
  let seen = 0;
  while (await speak.untilWoken(seen)) {
    seen = speak.wakes();
    try {
      await client.query('SELECT 1');
      speak.say(shape, 'woke');
    } catch (error) {
      speak.refused(shape, error);
    }
  }
}

speak.run({ autocommit, transaction, pool, shortcut, prepared, listen, idle });
