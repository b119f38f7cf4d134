"""Statements a second by gel and by asyncpg, through the two listeners of one Everline."""

import asyncio
import os
import time

import asyncpg
import gel

SECONDS = float(os.environ.get("LAB_SECONDS", "5"))
WORKERS = int(os.environ.get("LAB_WORKERS", "8"))
HOST, USER, PASSWORD = (os.environ[name] for name in ("LAB_HOST", "LAB_USER", "LAB_PASSWORD"))
STATEMENTS = {
    "SELECT 1": ("SELECT 1 AS x", ()),
    "one argument": ("SELECT $1::int8 AS x", (7,)),
    "1000 rows": ("SELECT n, 'word' AS w FROM generate_series(1, 1000) n", ()),
}


async def rate(ask):
    """How often `ask` ends in the time, by all workers together."""
    done = 0
    until = time.monotonic() + SECONDS

    async def work(number):
        nonlocal done
        while time.monotonic() < until:
            await ask(number)
            done += 1

    await asyncio.gather(*(work(number) for number in range(WORKERS)))
    return done / SECONDS


async def main():
    client = gel.create_async_client(
        host=HOST, port=int(os.environ["LAB_PORT"]), user=USER, password=PASSWORD,
        branch="__default__", tls_security="insecure", max_concurrency=WORKERS,
    )
    how = dict(host=HOST, port=int(os.environ["LAB_PG_PORT"]), user=USER, password=PASSWORD,
               database=os.environ["LAB_DATABASE"], ssl="disable")
    connections = [await asyncpg.connect(**how) for _ in range(WORKERS)]
    print(f"{'':14}{'PostgreSQL':>12}{'Gel':>12}   statements a second, {WORKERS} clients")
    for name, (text, arguments) in STATEMENTS.items():
        plain = await rate(lambda n: connections[n].fetch(text, *arguments))
        through_gel = await rate(lambda n: client.query_sql(text, *arguments))
        print(f"{name:14}{plain:12.0f}{through_gel:12.0f}")
    await client.aclose()
    for connection in connections:
        await connection.close()


asyncio.run(main())
