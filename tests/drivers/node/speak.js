// What a driver's program says to the runner, one JSON object a line, and what it hears;
// ../python/speak.py has it in words.
'use strict';

const readline = require('node:readline');

const env = process.env;
const PAUSE = 40; // milliseconds between two statements of one client
const THINK = 30; // milliseconds that an application takes between a transaction's statements
const TRIES = 10; // of a retry loop
const BACKOFF = 100; // milliseconds before each further try

let next = Number(env.LAB_KEYS);
let wakes = 0;
const seen = new Set();
const waiting = new Set();
const state = { stopped: false };

const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

const port = (shape) => Number(env['LAB_PORT_' + shape.toUpperCase()]) || null;

const place = (shape) => ({
  host: env.LAB_HOST,
  port: port(shape),
  user: env.LAB_USER,
  password: env.LAB_PASSWORD,
  database: env.LAB_DATABASE,
  ssl: false,
});

const say = (shape, event, fields = {}) =>
  process.stdout.write(JSON.stringify({ shape, event, ...fields }) + '\n');

// An SQLSTATE has five characters; a socket's error has a word.
const sqlstate = (error) => (/^[0-9A-Z]{5}$/.test(error.code || '') ? error.code : '');

const refused = (shape, error, ...keys) =>
  say(shape, 'error', { keys, sqlstate: sqlstate(error), text: `${error.name}: ${error.message}` });

// The connection that is used; said once for each.
function connection(shape, id) {
  const one = `${shape} ${id}`;
  if (!seen.has(one)) {
    seen.add(one);
    say(shape, 'connection', { id: String(id) });
  }
}

// New keys with a pause between them, until the end.
async function* keys(count = 1) {
  while (!state.stopped) {
    const some = Array.from({ length: count }, () => next++);
    yield count === 1 ? some[0] : some;
    await sleep(PAUSE);
  }
}

// The usual loop: the whole transaction again as long as it could not be serialized.
async function serialized(shape, keys, transaction) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await transaction();
    } catch (error) {
      if (sqlstate(error) !== '40001' || attempt === TRIES) throw error;
      say(shape, 'retried', { keys });
      await sleep(BACKOFF);
    }
  }
}

// Waits until the runner has said "wake" more often than `than`; false at the end.
async function untilWoken(than) {
  while (wakes <= than && !state.stopped) {
    await new Promise((done) => waiting.add(done));
  }
  return !state.stopped;
}

function wakeAll() {
  for (const done of waiting) done();
  waiting.clear();
}

// Runs each shape that has a port; what escapes from one is reported.
async function run(shapes) {
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    if (line === 'stop') state.stopped = true;
    else wakes++;
    wakeAll();
  });
  lines.on('close', () => {
    state.stopped = true;
    wakeAll();
  });
  const guarded = async ([shape, work]) => {
    try {
      await work(shape);
    } catch (error) {
      say(shape, 'broken', { text: `${error.name}: ${error.message}` });
    }
  };
  await Promise.all(Object.entries(shapes).filter(([shape]) => port(shape)).map(guarded));
  process.stdout.write(JSON.stringify({ shape: '', event: 'end' }) + '\n', () => process.exit(0));
}

module.exports = {
  connection, keys, place, refused, run, say, serialized, sleep, state, think: () => sleep(THINK), untilWoken,
  wakes: () => wakes,
  INSERT: 'INSERT INTO kept (key) VALUES ($1)',
  COUNT: 'SELECT count(*) AS found FROM kept WHERE key = $1',
};
