"""Django over psycopg 3: persistent connections with health checks, django-pgtransaction's retry."""

import threading

import django
from django.conf import settings
from django.core import signals

import speak

SHAPES = [shape for shape in ("autocommit", "transaction", "pool", "idle") if speak.port(shape)]
settings.configure(
    TIME_ZONE="UTC",
    INSTALLED_APPS=["pgtransaction"],
    # One database for each shape, because each has a port of its own.
    DATABASES={
        "default" if shape == SHAPES[0] else shape: {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": speak.HOST,
            "PORT": speak.port(shape),
            "USER": speak.USER,
            "PASSWORD": speak.PASSWORD,
            "NAME": speak.DATABASE,
            "CONN_MAX_AGE": None,
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": {
                "sslmode": "disable",
                **({"pool": {"min_size": 4, "max_size": 4}} if shape == "pool" else {}),
            },
        }
        for shape in SHAPES
    },
)
for shape in SHAPES:
    if shape == "pool":  # Django's own pool excludes connections that last longer than a request
        name = "default" if shape == SHAPES[0] else shape
        settings.DATABASES[name].update(CONN_MAX_AGE=0)
django.setup()

import pgtransaction  # noqa: E402  (needs the settings)
from django.db import DatabaseError, InterfaceError, connections  # noqa: E402


def name(shape):
    return "default" if shape == SHAPES[0] else shape


def refused(shape, error, *keys):
    speak.refused(shape, error, getattr(error.__cause__, "sqlstate", None), *keys)


def note(shape):
    conn = connections[name(shape)]
    conn.ensure_connection()
    speak.connection(shape, conn.connection.info.backend_pid)


class Request:
    """What Django does to its connections at the beginning and the end of each request."""

    def __enter__(self):
        signals.request_started.send(sender=Request)

    def __exit__(self, *_):
        signals.request_finished.send(sender=Request)


def insert(shape, key):
    with connections[name(shape)].cursor() as cursor:
        cursor.execute(speak.INSERT, (key,))


def count(shape, key):
    with connections[name(shape)].cursor() as cursor:
        cursor.execute(speak.COUNT, (key,))
        return cursor.fetchone()[0]


ERRORS = (DatabaseError, InterfaceError)


def autocommit(shape):
    note(shape)
    speak.ready(shape)
    for key in speak.keys():
        with Request():
            try:
                insert(shape, key)
                speak.acknowledged(shape, key)
                note(shape)
            except ERRORS as error:
                refused(shape, error, key)


def transaction(shape):
    note(shape)
    speak.ready(shape)
    for keys in speak.keys(2):
        tried = []

        @pgtransaction.atomic(using=name(shape), retry=speak.TRIES)
        def work():
            tried.append(1)
            if len(tried) > 1:
                speak.retried(shape, *keys)
                speak.sleep_before_retry()
            for key in keys:
                insert(shape, key)
                count(shape, key)
                speak.think()

        with Request():
            try:
                work()
                speak.acknowledged(shape, *keys)
                note(shape)
            except ERRORS as error:
                refused(shape, error, *keys)


def pool(shape):
    with Request():
        note(shape)
    speak.ready(shape)

    def work():
        for key in speak.keys():
            with Request():
                try:
                    note(shape)
                    insert(shape, key)
                    speak.acknowledged(shape, key)
                    speak.looked(shape, key, count(shape, key))
                except ERRORS as error:
                    refused(shape, error, key)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def idle(shape):
    note(shape)
    speak.ready(shape)
    seen = 0
    while speak.until_woken(seen):
        seen = speak.wakes()
        with Request():
            try:
                with connections[name(shape)].cursor() as cursor:
                    cursor.execute("SELECT 1")
                speak.say(shape, "woke")
                note(shape)
            except ERRORS as error:
                refused(shape, error)


speak.run({"autocommit": autocommit, "transaction": transaction, "pool": pool, "idle": idle})
