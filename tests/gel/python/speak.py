"""Gel's own Python client before Everline: what it can do, and what it does in an outage.

speak.py basics|types|load, with the connection in the environment; says one line of JSON for each
finding, and "done" at its end.
"""

import asyncio
import datetime
import json
import os
import sys
import uuid

import gel

HOW = dict(
    host=os.environ["LAB_HOST"],
    port=int(os.environ["LAB_PORT"]),
    user=os.environ["LAB_USER"],
    password=os.environ["LAB_PASSWORD"],
    branch=os.environ.get("LAB_BRANCH", "__default__"),
)
if os.environ.get("LAB_CA"):
    HOW["tls_ca_file"] = os.environ["LAB_CA"]
else:
    HOW["tls_security"] = "insecure"


def say(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


def check(name, found, wanted):
    if found != wanted:
        say("wrong", name=name, found=repr(found), wanted=repr(wanted))
    else:
        say("ok", name=name)


def refused(name, kind, call):
    try:
        found = call()
    except kind as error:
        # A class is refused by itself and not by one that comes from it.
        check(name, type(error), kind)
        return str(error)
    except Exception as error:
        say("wrong", name=name, found=repr(error), wanted=kind.__name__)
    else:
        say("wrong", name=name, found=repr(found), wanted=kind.__name__)
    return ""


def basics():
    client = gel.create_client(**HOW)
    client.execute_sql("DROP TABLE IF EXISTS gel_basics")
    client.execute_sql("CREATE TABLE gel_basics (id int PRIMARY KEY, word text)")
    check("insert", client.query_sql("INSERT INTO gel_basics VALUES (1, 'a'), (2, NULL)"), [])
    rows = client.query_sql("SELECT id, word FROM gel_basics ORDER BY id")
    check("rows", [(row[0], row["word"]) for row in rows], [(1, "a"), (2, None)])
    check("as_dict", rows[0].as_dict(), {"id": 1, "word": "a"})
    rows = client.query_sql("SELECT word FROM gel_basics WHERE id = $1 OR word = $2", 1, None)
    check("arguments", [row[0] for row in rows], ["a"])
    rows = client.query_sql("INSERT INTO gel_basics VALUES ($1, $2) RETURNING id, word", 3, "c")
    check("returning", [row.as_dict() for row in rows], [{"id": 3, "word": "c"}])
    rows = client.query_sql("SELECT 1 AS x, 2 AS x, 3 AS x_1")
    check("same names", list(rows[0].as_dict()), ["x", "x_2", "x_1"])
    check("no rows", client.query_sql("SELECT 1 WHERE false"), [])
    many = client.query_sql("SELECT n, repeat('x', 200) FROM generate_series(1, 5000) n")
    check("many rows", (len(many), many[-1][0]), (5000, 5000))
    big = client.query_sql("SELECT $1::text AS t", "y" * 3_000_000)
    check("a big value", len(big[0][0]), 3_000_000)
    refused("constraint", gel.ConstraintViolationError,
            lambda: client.execute_sql("INSERT INTO gel_basics VALUES (1, 'again')"))
    refused("syntax", gel.EdgeQLSyntaxError, lambda: client.query_sql("SELEC 1"))
    words = refused("no table", gel.QueryError, lambda: client.query_sql("SELECT * FROM nowhere"))
    check("in PostgreSQL's words", 'relation "nowhere" does not exist' in words, True)
    refused("division", gel.DivisionByZeroError, lambda: client.query_sql("SELECT 1 / 0"))
    words = refused("edgeql", gel.UnsupportedFeatureError, lambda: client.query("select 1"))
    check("what this server is", "EdgeQL is not supported by this server" in words, True)
    refused("BEGIN", gel.DisabledCapabilityError, lambda: client.execute_sql("BEGIN"))
    refused("SET", gel.DisabledCapabilityError, lambda: client.execute_sql("SET a.b = 'c'"))
    refused("COPY", gel.UnsupportedFeatureError, lambda: client.execute_sql("COPY gel_basics TO STDOUT"))
    refused("wrong argument", gel.InvalidArgumentError,
            lambda: client.query_sql("SELECT $1::int8 AS x", "text"))
    for tx in client.transaction():
        with tx:
            tx.execute_sql("INSERT INTO gel_basics VALUES (10, 'tx')")
            check("in a transaction", tx.query_sql("SELECT count(*) FROM gel_basics")[0][0], 4)
    isolation = client.query_sql("SHOW default_transaction_isolation")[0][0]
    check("serializable", isolation, "serializable")
    try:
        for tx in client.transaction():
            with tx:
                tx.execute_sql("INSERT INTO gel_basics VALUES (11, 'gone')")
                raise KeyError("mine")
    except KeyError:
        say("ok", name="own error")
    check("rolled back", client.query_sql("SELECT 1 FROM gel_basics WHERE id = 11"), [])
    tries = 0
    other = gel.create_client(**HOW)
    for tx in client.transaction():
        with tx:
            tries += 1
            tx.query_sql("SELECT word FROM gel_basics WHERE id = 1")
            if tries == 1:
                other.execute_sql("UPDATE gel_basics SET word = 'b' WHERE id = 1")
            tx.execute_sql("UPDATE gel_basics SET word = word || '!' WHERE id = 1")
    check("repeats after a conflict", tries, 2)
    check("once", client.query_sql("SELECT word FROM gel_basics WHERE id = 1")[0][0], "b!")
    options = gel.TransactionOptions(readonly=True)
    reader = client.with_transaction_options(options)
    refused("read only", gel.TransactionError,
            lambda: reader.execute_sql("INSERT INTO gel_basics VALUES (12, 'no')"))
    slow = client.with_config(query_execution_timeout=datetime.timedelta(milliseconds=200))
    refused("timeout", gel.QueryTimeoutError, lambda: slow.query_sql("SELECT pg_sleep(10)"))
    check("tag", client.with_query_tag("x").query_sql("SELECT 1 AS x")[0][0], 1)
    client.execute_sql("ALTER TABLE gel_basics ALTER word TYPE varchar(10), ADD more int")
    row = client.query_sql("SELECT * FROM gel_basics WHERE id = 1")[0]
    check("after DDL", row.as_dict(), {"id": 1, "word": "b!", "more": None})
    other.close()
    client.close()
    asyncio.run(crowd())
    logins()


async def crowd():
    client = gel.create_async_client(**HOW)
    ask = [client.query_sql("SELECT $1::int8 AS x", n) for n in range(60)]
    check("a crowd", [rows[0][0] for rows in await asyncio.gather(*ask)], list(range(60)))
    await client.aclose()


def logins():
    wrong = dict(HOW, password="wrong", wait_until_available=0)
    refused("wrong password", gel.AuthenticationError,
            lambda: gel.create_client(**wrong).query_sql("SELECT 1"))
    nobody = dict(HOW, user="nobody", wait_until_available=0)
    refused("unknown user", gel.AuthenticationError,
            lambda: gel.create_client(**nobody).query_sql("SELECT 1"))


TYPES = {
    "bool": "true", "bytea": r"'\x00ff'", '"char"': "'c'", "name": "'n'", "int8": "-9007199254740993",
    "int2": "-5", "int4": "2147483647", "text": "'täxt'", "oid": "4294967295", "xid": "'5'",
    "cid": "'6'", "json": "'{\"a\": 1}'", "xid8": "'7'", "float4": "1.5", "float8": "-2.25",
    "bpchar": "'b'", "varchar": "'v'", "date": "'2026-11-25'", "time": "'12:34:56.789'",
    "timestamp": "'2026-11-25 01:02:03.4'", "timestamptz": "'2026-11-25 01:02:03.4+02'",
    "interval": "'1 year 2 days 3 hours'", "numeric": "12345678901234567890.123",
    "uuid": "'00112233-4455-6677-8899-aabbccddeeff'", "jsonb": "'[1, \"x\"]'",
    "int4range": "'[1,5)'", "int8range": "'[1,5)'", "numrange": "'[1.5,2.5]'",
    "tsrange": "'[2026-01-01,2026-01-02)'", "tstzrange": "'[2026-01-01 00:00+00,2026-01-02 00:00+00)'",
    "daterange": "'[2026-01-01,2026-02-01)'", "int4multirange": "'{[1,3),[5,7)}'",
    "int8multirange": "'{[1,3),[5,7)}'", "nummultirange": "'{[1.5,2.5]}'",
    "tsmultirange": "'{[2026-01-01,2026-01-02)}'",
    "tstzmultirange": "'{[2026-01-01 00:00+00,2026-01-02 00:00+00)}'",
    "datemultirange": "'{[2026-01-01,2026-02-01)}'",
    "bool[]": "'{t,f}'", "bytea[]": "ARRAY['\\x01'::bytea]", "name[]": "'{a,b}'",
    "int2[]": "'{1,2}'", "int4[]": "'{1,2}'", "text[]": "'{a,\"b c\"}'", "bpchar[]": "'{a,b}'",
    "varchar[]": "'{a,b}'", "int8[]": "'{1,2}'", "float4[]": "'{1.5}'", "float8[]": "'{1.5}'",
    "timestamp[]": "'{2026-11-25 01:02:03}'", "date[]": "'{2026-11-25}'", "time[]": "'{12:34:56}'",
    "timestamptz[]": "'{2026-11-25 01:02:03+00}'", "interval[]": "'{1 day}'", "numeric[]": "'{1.5,2.5}'",
    "uuid[]": "'{00112233-4455-6677-8899-aabbccddeeff}'", "jsonb[]": "ARRAY['1'::jsonb]",
    "json[]": "ARRAY['1'::json]", "text[] ": "'{}'",
    # as text
    "inet": "'10.0.0.1/8'", "money": "'1.00'", "timetz": "'12:00+02'", "bit(3)": "'101'",
    "varbit": "'10'", "xml": "'<a/>'", "point": "'(1,2)'", "regclass": "'pg_class'",
    "tsvector": "'a b'", "macaddr": "'08:00:2b:01:02:03'", "int4[][]": "NULL", "oid[]": "'{1,2}'",
    "gel_mood": "'happy'", "gel_pair": "'(1,x)'", "gel_small": "5", "gel_smaller": "4",
    "gel_mood[]": "'{happy}'",
}


def types():
    client = gel.create_client(**HOW)
    for statement in (
        "DROP TYPE IF EXISTS gel_mood CASCADE", "CREATE TYPE gel_mood AS ENUM ('happy', 'sad')",
        "DROP TYPE IF EXISTS gel_pair CASCADE", "CREATE TYPE gel_pair AS (a int, b text)",
        "DROP DOMAIN IF EXISTS gel_small CASCADE", "CREATE DOMAIN gel_small AS int CHECK (VALUE < 10)",
        "CREATE DOMAIN gel_smaller AS gel_small CHECK (VALUE < 5)",
    ):
        client.execute_sql(statement)
    for kind, literal in TYPES.items():
        try:
            value = client.query_sql(f"SELECT {literal}::{kind} AS v")[0][0]
            rows = client.query_sql(
                f"SELECT $1::{kind} AS v, $1::{kind}::text IS NOT DISTINCT FROM ({literal}::{kind})::text AS same",
                value,
            )
            check(kind, (rows[0][0], rows[0][1]), (value, True))
            rows = client.query_sql(f"SELECT $1::{kind} AS v", None)
            check(f"{kind} NULL", rows[0][0], None)
        except Exception as error:
            say("wrong", name=kind, found=repr(error), wanted="a round trip")
    for query, wanted in {
        "SELECT 4294967295::oid": 4294967295, "SELECT NULL::int4": None,
        "SELECT 'happy'::gel_mood": "happy", "SELECT ROW(1, 'x')": "(1,x)",
        "SELECT '10.0.0.1'::inet": "10.0.0.1", "SELECT 5::gel_small": 5,
        "SELECT ARRAY[1, NULL]": [1, None], "SELECT ARRAY['a', NULL]": ["a", None],
    }.items():
        check(query, client.query_sql(query)[0][0], wanted)
    client.close()


async def load():
    """Transactions of a fresh key each, by workers that know nothing of outages.

    Each has a table of its own, so that they never conflict: what fails, fails for the outage.
    """
    workers = int(os.environ.get("LAB_WORKERS", "8"))
    client = gel.create_async_client(max_concurrency=workers, **HOW)
    stop = asyncio.Event()
    books = dict(committed=[], unknown=[], errors=[], tries=0)
    first = int(os.environ.get("LAB_KEYS", "1"))

    async def work(number):
        key = first + number
        insert = f"INSERT INTO ledger_{key} (key) VALUES ($1::int8)"
        count = f"SELECT count(*) FROM ledger_{key} WHERE key = $1::int8"
        while not stop.is_set():
            try:
                async for tx in client.transaction():
                    async with tx:
                        books["tries"] += 1
                        await tx.execute_sql(insert, key)
                        await tx.query_sql(count, key)
                books["committed"].append(key)
            except gel.AvailabilityError as error:
                known = type(error) is gel.AvailabilityError
                books["unknown" if known else "errors"].append(key if known else repr(error))
            except Exception as error:
                books["errors"].append(repr(error))
            key += workers

    tasks = [asyncio.create_task(work(number)) for number in range(workers)]
    say("running")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    stop.set()
    await asyncio.wait(tasks, timeout=60)
    say("ledger", **books)
    await client.aclose()


{"basics": basics, "types": types, "load": lambda: asyncio.run(load())}[sys.argv[1]]()
say("done")
