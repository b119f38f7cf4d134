"""psycopg 3 with psycopg_pool."""

import threading

import psycopg
from psycopg_pool import ConnectionPool

import speak


def dsn(shape):
    return psycopg.conninfo.make_conninfo(
        host=speak.HOST,
        port=speak.port(shape),
        user=speak.USER,
        password=speak.PASSWORD,
        dbname=speak.DATABASE,
        sslmode="disable",
    )


def note(shape, conn):
    speak.connection(shape, conn.info.backend_pid)


def autocommit(shape):
    with psycopg.connect(dsn(shape), autocommit=True) as conn:
        note(shape, conn)
        speak.ready(shape)
        for key in speak.keys():
            try:
                conn.execute(speak.INSERT, (key,))
                speak.acknowledged(shape, key)
            except psycopg.Error as error:
                speak.refused(shape, error, error.sqlstate, key)


def in_transaction(shape, conn, keys, work):
    """The usual loop: the whole transaction again as long as it could not be serialized."""
    for attempt in range(speak.TRIES):
        try:
            with conn.transaction():
                return work()
        except psycopg.errors.SerializationFailure:
            if attempt == speak.TRIES - 1:
                raise
            speak.retried(shape, *keys)
            speak.sleep_before_retry()


def transaction(shape):
    with psycopg.connect(dsn(shape), autocommit=True) as conn:
        note(shape, conn)
        speak.ready(shape)
        for keys in speak.keys(2):

            def work():
                for key in keys:
                    conn.execute(speak.INSERT, (key,))
                    conn.execute(speak.COUNT, (key,)).fetchone()
                    speak.think()

            try:
                in_transaction(shape, conn, keys, work)
                speak.acknowledged(shape, *keys)
            except psycopg.Error as error:
                speak.refused(shape, error, error.sqlstate, *keys)


def pool(shape):
    with ConnectionPool(
        dsn(shape), min_size=4, max_size=4, check=ConnectionPool.check_connection
    ) as pool:
        pool.wait()
        speak.ready(shape)

        def work():
            for key in speak.keys():
                try:
                    with pool.connection() as conn:
                        note(shape, conn)
                        conn.execute(speak.INSERT, (key,))
                    speak.acknowledged(shape, key)
                    with pool.connection() as conn:
                        found = conn.execute(speak.COUNT, (key,)).fetchone()[0]
                    speak.looked(shape, key, found)
                except psycopg.Error as error:
                    speak.refused(shape, error, error.sqlstate, key)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def prepared(shape):
    with psycopg.connect(dsn(shape), autocommit=True) as conn:
        note(shape, conn)
        speak.ready(shape)
        for key in speak.keys():
            try:
                conn.execute(speak.INSERT, (key,), prepare=True)
                speak.acknowledged(shape, key)
                found = conn.execute(speak.COUNT, (key,), prepare=True).fetchone()[0]
                speak.looked(shape, key, found)
            except psycopg.Error as error:
                speak.refused(shape, error, error.sqlstate, key)


def listen(shape):
    with psycopg.connect(dsn(shape), autocommit=True) as conn:
        note(shape, conn)
        conn.execute("LISTEN news")
        speak.ready(shape)
        while not speak.stop.is_set():
            try:
                for notification in conn.notifies(timeout=0.5):
                    speak.say(shape, "heard", text=notification.payload)
            except psycopg.Error as error:
                speak.refused(shape, error, error.sqlstate)
                speak.pause()


def idle(shape):
    with psycopg.connect(dsn(shape), autocommit=True) as conn:
        note(shape, conn)
        conn.execute("SELECT 1")
        speak.ready(shape)
        seen = 0
        while speak.until_woken(seen):
            seen = speak.wakes()
            try:
                conn.execute("SELECT 1")
                speak.say(shape, "woke")
            except psycopg.Error as error:
                speak.refused(shape, error, error.sqlstate)


speak.run(
    {
        "autocommit": autocommit,
        "transaction": transaction,
        "pool": pool,
        "prepared": prepared,
        "listen": listen,
        "idle": idle,
    }
)
