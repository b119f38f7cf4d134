// Gel's own JavaScript client before Everline: what it can do, and what it does in an outage.
//
// node speak.js basics|load, with the connection in the environment; says one line of JSON for each
// finding, and "done" at its end.
"use strict";

const gel = require("gel");

const env = process.env;
const how = {
  host: env.LAB_HOST,
  port: Number(env.LAB_PORT),
  user: env.LAB_USER,
  password: env.LAB_PASSWORD,
  branch: env.LAB_BRANCH || "__default__",
};
if (env.LAB_CA) {
  how.tlsCAFile = env.LAB_CA;
} else {
  how.tlsSecurity = "insecure";
}

function say(event, more = {}) {
  console.log(JSON.stringify({ event, ...more }));
}

function shown(value) {
  return JSON.stringify(value, (_, x) => (typeof x === "bigint" ? `${x}n` : x));
}

function check(name, found, wanted) {
  if (shown(found) === shown(wanted)) {
    say("ok", { name });
  } else {
    say("wrong", { name, found: shown(found), wanted: shown(wanted) });
  }
}

async function refused(name, kind, call) {
  try {
    const found = await call();
    say("wrong", { name, found: shown(found), wanted: kind.name });
  } catch (error) {
    check(name, error.constructor.name, kind.name);
    return error.message;
  }
  return "";
}

async function basics() {
  const client = gel.createClient(how);
  await client.executeSQL("DROP TABLE IF EXISTS gel_js");
  await client.executeSQL("CREATE TABLE gel_js (id int PRIMARY KEY, word text)");
  check("insert", await client.querySQL("INSERT INTO gel_js VALUES (1, 'a'), (2, NULL)"), []);
  const rows = await client.querySQL("SELECT id, word FROM gel_js ORDER BY id");
  check("rows", rows, [{ id: 1, word: "a" }, { id: 2, word: null }]);
  const found = await client.querySQL("SELECT word FROM gel_js WHERE id = $1 OR word = $2", [1, null]);
  check("arguments", found, [{ word: "a" }]);
  const arrays = client.withSQLRowMode("array");
  check("row mode", await arrays.querySQL("SELECT 1 AS x, 2 AS x"), [[1, 2]]);
  const values = {
    "true": true, "5::int2": 5, "7::int4": 7, "9::int8": 9, "1.5::float8": 1.5, "'t'::text": "t",
    "'{1,NULL}'::int4[]": [1, null], "4294967295::oid": 4294967295, "'10.0.0.1'::inet": "10.0.0.1",
    "'{\"a\": 1}'::jsonb": { a: 1 }, "'00112233-4455-6677-8899-aabbccddeeff'::uuid":
      "00112233-4455-6677-8899-aabbccddeeff", "NULL::text": null,
  };
  for (const [sql, wanted] of Object.entries(values)) {
    check(sql, (await client.querySQL(`SELECT ${sql} AS v`))[0].v, wanted);
  }
  for (const [type, value] of Object.entries({
    text: "täxt", int4: -3, int8: 12, float8: 2.5, bool: false, "int4[]": [1, 2], "text[]": [],
    inet: "10.0.0.1", numeric: "1.5", jsonb: [1, "x"],
  })) {
    const row = await client.querySQL(`SELECT $1::${type} AS v`, [value]);
    check(type, row[0].v, value);
    check(`${type} NULL`, (await client.querySQL(`SELECT $1::${type} AS v`, [null]))[0].v, null);
  }
  await refused("constraint", gel.ConstraintViolationError,
    () => client.executeSQL("INSERT INTO gel_js VALUES (1, 'again')"));
  await refused("syntax", gel.EdgeQLSyntaxError, () => client.querySQL("SELEC 1"));
  const words = await refused("edgeql", gel.UnsupportedFeatureError, () => client.query("select 1"));
  check("what this server is", words.includes("EdgeQL is not supported by this server"), true);
  await refused("BEGIN", gel.DisabledCapabilityError, () => client.executeSQL("BEGIN"));
  await client.transaction(async (tx) => {
    await tx.executeSQL("INSERT INTO gel_js VALUES (10, 'tx')");
    check("in a transaction", await tx.querySQL("SELECT count(*)::int4 AS n FROM gel_js"), [{ n: 3 }]);
  });
  try {
    await client.transaction(async (tx) => {
      await tx.executeSQL("INSERT INTO gel_js VALUES (11, 'gone')");
      throw new Error("mine");
    });
  } catch (error) {
    check("own error", error.message, "mine");
  }
  check("rolled back", await client.querySQL("SELECT 1 AS x FROM gel_js WHERE id = 11"), []);
  let tries = 0;
  await client.transaction(async (tx) => {
    tries += 1;
    await tx.querySQL("SELECT word FROM gel_js WHERE id = 1");
    if (tries === 1) {
      await client.executeSQL("UPDATE gel_js SET word = 'b' WHERE id = 1");
    }
    await tx.executeSQL("UPDATE gel_js SET word = word || '!' WHERE id = 1");
  });
  check("repeats after a conflict", tries, 2);
  check("once", await client.querySQL("SELECT word FROM gel_js WHERE id = 1"), [{ word: "b!" }]);
  await client.close();
}

async function load() {
  const workers = Number(env.LAB_WORKERS || "8");
  const first = Number(env.LAB_KEYS || "1");
  const client = gel.createClient({ ...how, concurrency: workers });
  const books = { committed: [], unknown: [], errors: [], tries: 0 };
  let stop = false;
  // Each has a table of its own, so that they never conflict: what fails, fails for the outage.
  async function work(number) {
    const insert = `INSERT INTO ledger_${first + number} (key) VALUES ($1::int8)`;
    const count = `SELECT count(*) FROM ledger_${first + number} WHERE key = $1::int8`;
    for (let key = first + number; !stop; key += workers) {
      try {
        await client.transaction(async (tx) => {
          books.tries += 1;
          await tx.executeSQL(insert, [key]);
          await tx.querySQL(count, [key]);
        });
        books.committed.push(key);
      } catch (error) {
        if (error.constructor === gel.AvailabilityError) {
          books.unknown.push(key);
        } else {
          books.errors.push(`${error.constructor.name}: ${error.message}`);
        }
      }
    }
  }
  const all = Array.from({ length: workers }, (_, number) => work(number));
  say("running");
  for (const event of ["data", "end"]) {
    process.stdin.once(event, () => {
      stop = true;
    });
  }
  await Promise.all(all);
  say("ledger", books);
  await client.close();
  process.stdin.destroy();
}

({ basics, load })[process.argv[2]]().then(
  () => say("done"),
  (error) => {
    say("wrong", { name: "end", found: String(error.stack), wanted: "done" });
    process.exitCode = 1;
  },
);
