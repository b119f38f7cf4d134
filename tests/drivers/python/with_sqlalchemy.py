"""SQLAlchemy 2 over psycopg 3, with a retry loop around the transaction."""

import threading

from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

import speak

INSERT = text("INSERT INTO kept (key) VALUES (:key)")
COUNT = text("SELECT count(*) FROM kept WHERE key = :key")


def engine(shape, size=1, **settings):
    url = URL.create(
        "postgresql+psycopg",
        username=speak.USER,
        password=speak.PASSWORD,
        host=speak.HOST,
        port=speak.port(shape),
        database=speak.DATABASE,
        query={"sslmode": "disable"},
    )
    # pool_pre_ping: each connection is tried with an empty statement when it is taken.
    return create_engine(url, pool_size=size, max_overflow=0, pool_pre_ping=True, **settings)


def code(error):
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def refused(shape, error, *keys):
    speak.refused(shape, error, code(error), *keys)


def note(shape, conn):
    speak.connection(shape, conn.connection.dbapi_connection.info.backend_pid)


def autocommit(shape):
    with engine(shape, isolation_level="AUTOCOMMIT").connect() as conn:
        note(shape, conn)
        speak.ready(shape)
        for key in speak.keys():
            try:
                conn.execute(INSERT, {"key": key})
                speak.acknowledged(shape, key)
            except SQLAlchemyError as error:
                refused(shape, error, key)


def in_transaction(shape, bind, keys, work):
    """The usual loop: a new session as long as the transaction could not be serialized."""
    for attempt in range(speak.TRIES):
        try:
            with Session(bind) as session, session.begin():
                note(shape, session.connection())
                return work(session)
        except DBAPIError as error:
            if code(error) != "40001" or attempt == speak.TRIES - 1:
                raise
            speak.retried(shape, *keys)
            speak.sleep_before_retry()


def transaction(shape):
    bind = engine(shape)
    bind.connect().close()
    speak.ready(shape)
    for keys in speak.keys(2):

        def work(session):
            for key in keys:
                session.execute(INSERT, {"key": key})
                session.execute(COUNT, {"key": key}).scalar_one()
                speak.think()

        try:
            in_transaction(shape, bind, keys, work)
            speak.acknowledged(shape, *keys)
        except SQLAlchemyError as error:
            refused(shape, error, *keys)


def pool(shape):
    bind = engine(shape, size=4)
    bind.connect().close()
    speak.ready(shape)

    def work():
        for key in speak.keys():
            try:
                with bind.begin() as conn:
                    note(shape, conn)
                    conn.execute(INSERT, {"key": key})
                speak.acknowledged(shape, key)
                with bind.connect() as conn:
                    found = conn.execute(COUNT, {"key": key}).scalar_one()
                speak.looked(shape, key, found)
            except SQLAlchemyError as error:
                refused(shape, error, key)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def idle(shape):
    bind = engine(shape)
    bind.connect().close()
    speak.ready(shape)
    seen = 0
    while speak.until_woken(seen):
        seen = speak.wakes()
        try:
            with bind.connect() as conn:
                note(shape, conn)
                conn.execute(text("SELECT 1"))
            speak.say(shape, "woke")
        except SQLAlchemyError as error:
            refused(shape, error)


speak.run({"autocommit": autocommit, "transaction": transaction, "pool": pool, "idle": idle})
