"""asyncpg with its pool."""

import asyncio
import os

import asyncpg

import speak

INSERT = "INSERT INTO kept (key) VALUES ($1)"
COUNT = "SELECT count(*) FROM kept WHERE key = $1"


def dsn(shape):
    return dict(
        host=speak.HOST,
        port=speak.port(shape),
        user=speak.USER,
        password=speak.PASSWORD,
        database=speak.DATABASE,
        ssl=False,
    )


def refused(shape, error, *keys):
    speak.refused(shape, error, getattr(error, "sqlstate", None), *keys)


ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncio.TimeoutError)


async def keys(count=1):
    """As speak.keys, without stopping the loop while it pauses."""
    while not speak.stop.is_set():
        yield speak.new_keys(count)
        await asyncio.sleep(speak.PAUSE)


async def connect(shape):
    conn = await asyncpg.connect(**dsn(shape))
    speak.connection(shape, conn.get_server_pid())
    return conn


async def autocommit(shape):
    conn = await connect(shape)
    speak.ready(shape)
    async for key in keys():
        try:
            await conn.execute(INSERT, key)
            speak.acknowledged(shape, key)
        except ERRORS as error:
            refused(shape, error, key)


async def in_transaction(shape, conn, keys, work):
    """The usual loop: the whole transaction again as long as it could not be serialized."""
    for attempt in range(speak.TRIES):
        try:
            async with conn.transaction():
                return await work()
        except asyncpg.SerializationError:
            if attempt == speak.TRIES - 1:
                raise
            speak.retried(shape, *keys)
            await asyncio.sleep(speak.BACKOFF)


async def transaction(shape):
    conn = await connect(shape)
    speak.ready(shape)
    async for both in keys(2):

        async def work():
            for key in both:
                await conn.execute(INSERT, key)
                await conn.fetchval(COUNT, key)
                await asyncio.sleep(speak.THINK)

        try:
            await in_transaction(shape, conn, both, work)
            speak.acknowledged(shape, *both)
        except ERRORS as error:
            refused(shape, error, *both)


async def pool(shape):
    async with asyncpg.create_pool(min_size=4, max_size=4, **dsn(shape)) as pool:
        speak.ready(shape)

        async def work():
            async for key in keys():
                try:
                    async with pool.acquire() as conn:
                        speak.connection(shape, conn.get_server_pid())
                        # Here, not around it: the reset at its release may fail on its own, and
                        # its error would be seen in place of this one.
                        try:
                            await conn.execute(INSERT, key)
                            speak.acknowledged(shape, key)
                        except ERRORS as error:
                            refused(shape, error, key)
                            continue
                    speak.looked(shape, key, await pool.fetchval(COUNT, key))
                except ERRORS as error:
                    refused(shape, error)

        await asyncio.gather(*(work() for _ in range(4)))


async def prepared(shape):
    conn = await connect(shape)
    insert, count = await conn.prepare(INSERT), await conn.prepare(COUNT)
    speak.ready(shape)
    async for key in keys():
        try:
            await insert.fetch(key)
            speak.acknowledged(shape, key)
            speak.looked(shape, key, await count.fetchval(key))
        except ERRORS as error:
            refused(shape, error, key)


async def listen(shape):
    conn = await connect(shape)
    heard = lambda conn, pid, channel, payload: speak.say(shape, "heard", text=payload)
    await conn.add_listener("news", heard)
    speak.ready(shape)
    while not speak.stop.is_set():
        await asyncio.sleep(0.2)
    if conn.is_closed():
        speak.refused(shape, ConnectionError("the listener's connection is closed"), None)


async def idle(shape):
    conn = await connect(shape)
    await conn.execute("SELECT 1")
    speak.ready(shape)
    seen = 0
    while await asyncio.to_thread(speak.until_woken, seen):
        seen = speak.wakes()
        try:
            await conn.execute("SELECT 1")
            speak.say(shape, "woke")
        except ERRORS as error:
            refused(shape, error)


async def guarded(shape, work):
    try:
        await work(shape)
    except Exception as error:  # the runner judges
        speak.say(shape, "broken", text=f"{type(error).__name__}: {error}")


async def main():
    shapes = [autocommit, transaction, pool, prepared, listen, idle]
    named = [(shape.__name__, shape) for shape in shapes]
    await asyncio.gather(*(guarded(*one) for one in named if speak.port(one[0])))


speak.listen_to_runner()
asyncio.run(main())
speak.say("", "end")
os._exit(0)
