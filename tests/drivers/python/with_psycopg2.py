"""psycopg2 with its own pool."""

import select
import threading

import psycopg2
import psycopg2.errors
import psycopg2.pool

import speak


def dsn(shape):
    return dict(
        host=speak.HOST,
        port=speak.port(shape),
        user=speak.USER,
        password=speak.PASSWORD,
        dbname=speak.DATABASE,
        sslmode="disable",
    )


def connect(shape, autocommit=True):
    conn = psycopg2.connect(**dsn(shape))
    conn.autocommit = autocommit
    speak.connection(shape, conn.get_backend_pid())
    return conn


def autocommit(shape):
    conn = connect(shape)
    speak.ready(shape)
    for key in speak.keys():
        try:
            with conn.cursor() as cursor:
                cursor.execute(speak.INSERT, (key,))
            speak.acknowledged(shape, key)
        except psycopg2.Error as error:
            speak.refused(shape, error, error.pgcode, key)


def in_transaction(shape, conn, keys, work):
    """The usual loop: the whole transaction again as long as it could not be serialized."""
    for attempt in range(speak.TRIES):
        try:
            with conn, conn.cursor() as cursor:
                return work(cursor)
        except psycopg2.errors.SerializationFailure:
            if attempt == speak.TRIES - 1:
                raise
            speak.retried(shape, *keys)
            speak.sleep_before_retry()


def transaction(shape):
    conn = connect(shape, autocommit=False)
    speak.ready(shape)
    for keys in speak.keys(2):

        def work(cursor):
            for key in keys:
                cursor.execute(speak.INSERT, (key,))
                cursor.execute(speak.COUNT, (key,))
                cursor.fetchone()
                speak.think()

        try:
            in_transaction(shape, conn, keys, work)
            speak.acknowledged(shape, *keys)
        except psycopg2.Error as error:
            speak.refused(shape, error, error.pgcode, *keys)


def pool(shape):
    pool = psycopg2.pool.ThreadedConnectionPool(4, 4, **dsn(shape))
    speak.ready(shape)

    def work():
        for key in speak.keys():
            conn = pool.getconn()
            try:
                speak.connection(shape, conn.get_backend_pid())
                with conn, conn.cursor() as cursor:
                    cursor.execute(speak.INSERT, (key,))
                speak.acknowledged(shape, key)
                with conn, conn.cursor() as cursor:
                    cursor.execute(speak.COUNT, (key,))
                    speak.looked(shape, key, cursor.fetchone()[0])
            except psycopg2.Error as error:
                speak.refused(shape, error, error.pgcode, key)
            finally:
                pool.putconn(conn)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def prepared(shape):
    """psycopg2 prepares nothing itself: SQL does."""
    conn = connect(shape)
    with conn.cursor() as cursor:
        cursor.execute("PREPARE keep (bigint) AS INSERT INTO kept (key) VALUES ($1)")
    speak.ready(shape)
    for key in speak.keys():
        try:
            with conn.cursor() as cursor:
                cursor.execute("EXECUTE keep (%s)", (key,))
            speak.acknowledged(shape, key)
        except psycopg2.Error as error:
            speak.refused(shape, error, error.pgcode, key)


def listen(shape):
    conn = connect(shape)
    with conn.cursor() as cursor:
        cursor.execute("LISTEN news")
    speak.ready(shape)
    while not speak.stop.is_set():
        try:
            select.select([conn], [], [], 0.5)
            conn.poll()
            while conn.notifies:
                speak.say(shape, "heard", text=conn.notifies.pop(0).payload)
        except psycopg2.Error as error:
            speak.refused(shape, error, error.pgcode)
            speak.pause()


def idle(shape):
    conn = connect(shape)
    with conn.cursor() as cursor:
        cursor.execute("SELECT 1")
    speak.ready(shape)
    seen = 0
    while speak.until_woken(seen):
        seen = speak.wakes()
        try:
            with conn.cursor() as cursor:
                cursor.execute("SELECT 1")
            speak.say(shape, "woke")
        except psycopg2.Error as error:
            speak.refused(shape, error, error.pgcode)


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
