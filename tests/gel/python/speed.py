"""Statements a second by gel and by asyncpg, through the two listeners of one Everline.

The ways take turns, a second each, so that what else the machine does meets all of them alike. With
LAB_PID and LAB_PG_PID (Everline, PostgreSQL's first process) also the CPU that each statement took.
"""

import asyncio
import os
import ssl
import statistics
import time

import asyncpg
import gel

ROUNDS = int(os.environ.get("LAB_ROUNDS", "7"))
WORKERS = int(os.environ.get("LAB_WORKERS", "8"))
HOST, USER, PASSWORD = (os.environ[name] for name in ("LAB_HOST", "LAB_USER", "LAB_PASSWORD"))
STATEMENTS = {
    "SELECT 1": ("SELECT 1 AS x", ()),
    "one argument": ("SELECT $1::int8 AS x", (7,)),
    "a row by its key": ("SELECT relname, relpages FROM pg_class WHERE oid = $1", (1259,)),
    "1000 rows": ("SELECT n, 'word' AS w FROM generate_series(1, 1000) n", ()),
}
TICK = os.sysconf("SC_CLK_TCK")


def stat(pid):
    """Parent and CPU seconds of a process."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / TICK


def cpu():
    """CPU seconds of Everline, and of PostgreSQL's processes together."""
    own = os.environ.get("LAB_PID")
    first = os.environ.get("LAB_PG_PID")
    everline = stat(own)[1] if own else 0.0
    postgres = 0.0
    for pid in filter(str.isdigit, os.listdir("/proc") if first else []):
        try:
            parent, seconds = stat(pid)
        except OSError:
            continue
        if str(parent) == first:
            postgres += seconds
    return everline, postgres


async def turn(ask):
    """One second by all workers together: statements, and CPU seconds."""
    done = 0
    before, began = cpu(), time.monotonic()

    async def work(number):
        nonlocal done
        while time.monotonic() < began + 1:
            await ask(number)
            done += 1

    await asyncio.gather(*(work(number) for number in range(WORKERS)))
    took = time.monotonic() - began
    everline, postgres = (b - a for a, b in zip(before, cpu()))
    return done / took, everline / done * 1e6, postgres / done * 1e6


async def main():
    client = gel.create_async_client(
        host=HOST, port=int(os.environ["LAB_PORT"]), user=USER, password=PASSWORD,
        branch="__default__", tls_security="insecure", max_concurrency=WORKERS,
    )
    how = dict(host=HOST, port=int(os.environ["LAB_PG_PORT"]), user=USER, password=PASSWORD,
               database=os.environ["LAB_DATABASE"])
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    plain = [await asyncpg.connect(**how, ssl="disable") for _ in range(WORKERS)]
    ways = {"PostgreSQL": lambda n, *ask: plain[n].fetch(*ask)}
    try:
        hidden = [await asyncpg.connect(**how, ssl=unchecked) for _ in range(WORKERS)]
        ways["PostgreSQL by TLS"] = lambda n, *ask: hidden[n].fetch(*ask)
    except ConnectionError:
        pass  # this Everline has no certificate
    ways["Gel"] = lambda n, *ask: client.query_sql(*ask)
    print(f"{WORKERS} clients, median of {ROUNDS} s; CPU in microseconds a statement")
    print(f"{'':18}{'':18}{'a second':>10}{'ratio':>7}{'Everline':>10}{'PostgreSQL':>12}")
    for name, (text, arguments) in STATEMENTS.items():
        turns = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, ask in ways.items():
                turns[way].append(await turn(lambda n: ask(n, text, *arguments)))
        base = turns["PostgreSQL"]
        for way, taken in turns.items():
            rate, everline, postgres = (statistics.median(column) for column in zip(*taken))
            ratio = statistics.median(a[0] / b[0] for a, b in zip(taken, base))
            print(f"{name:18}{way:18}{rate:10.0f}{ratio:7.2f}{everline:10.0f}{postgres:12.0f}")
    await client.aclose()


asyncio.run(main())
