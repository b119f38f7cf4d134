"""What a driver's program says to the runner, one JSON object a line, and what it hears.

The runner starts the program with its surroundings in the environment (LAB_HOST, LAB_USER,
LAB_PASSWORD, LAB_DATABASE, LAB_KEYS and LAB_PORT_<SHAPE> for each shape that shall run), and says
"wake" or "stop", each a line. At the end of its input the program ends too.
"""

import itertools
import json
import os
import sys
import threading
import time

HOST = os.environ["LAB_HOST"]
USER = os.environ["LAB_USER"]
PASSWORD = os.environ["LAB_PASSWORD"]
DATABASE = os.environ["LAB_DATABASE"]
PAUSE = 0.04  # seconds between two statements of one client
THINK = 0.03  # seconds that an application takes between the statements of a transaction
TRIES = 10  # of a retry loop
BACKOFF = 0.1  # seconds before each further try

INSERT = "INSERT INTO kept (key) VALUES (%s)"
COUNT = "SELECT count(*) FROM kept WHERE key = %s"

stop = threading.Event()
_keys = itertools.count(int(os.environ["LAB_KEYS"]))
_lock = threading.Lock()
_seen = set()
_wakes = 0
_woken = threading.Condition()


def port(shape):
    """The port of this shape, or None when it shall not run."""
    said = os.environ.get("LAB_PORT_" + shape.upper())
    return int(said) if said else None


def say(shape, event, **fields):
    line = json.dumps({"shape": shape, "event": event, **fields})
    with _lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def ready(shape):
    say(shape, "ready")


def acknowledged(shape, *keys):
    say(shape, "acknowledged", keys=keys)


def refused(shape, error, code, *keys):
    say(shape, "error", keys=keys, sqlstate=code or "", text=f"{type(error).__name__}: {error}")


def retried(shape, *keys):
    say(shape, "retried", keys=keys)


def connection(shape, identity):
    """The connection that is used; said once for each."""
    if (shape, identity) not in _seen:
        _seen.add((shape, identity))
        say(shape, "connection", id=str(identity))


def looked(shape, key, found):
    """A row that was acknowledged has been looked for."""
    say(shape, "read", keys=[key], found=int(found))


def pause():
    stop.wait(PAUSE)


def new_keys(count=1):
    """One new key, or a list of them."""
    with _lock:
        some = [next(_keys) for _ in range(count)]
    return some[0] if count == 1 else some


def keys(count=1):
    """New keys with a pause between them, until the end."""
    while not stop.is_set():
        yield new_keys(count)
        pause()


def wakes():
    """How often the runner has said that it is time to wake."""
    return _wakes


def until_woken(seen):
    """Waits until the runner has said "wake" more often than `seen`; False at the end."""
    with _woken:
        _woken.wait_for(lambda: _wakes > seen or stop.is_set())
    return not stop.is_set()


def _hear():
    global _wakes
    for line in sys.stdin:
        if line.strip() == "stop":
            break
        with _woken:
            _wakes += 1
            _woken.notify_all()
    stop.set()
    with _woken:
        _woken.notify_all()


def listen_to_runner():
    threading.Thread(target=_hear, daemon=True).start()


def run(shapes):
    """Runs each (name, function) in a thread; what escapes from one is reported."""
    listen_to_runner()

    def guarded(shape, work):
        try:
            work(shape)
        except Exception as error:  # the runner judges
            say(shape, "broken", text=f"{type(error).__name__}: {error}")

    threads = []
    for shape, work in shapes.items():
        if port(shape):
            threads.append(threading.Thread(target=guarded, args=(shape, work)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("", "end")
    # A pool's own threads have nothing left to do.
    sys.stdout.flush()
    os._exit(0)


def think():
    time.sleep(THINK)


def sleep_before_retry():
    time.sleep(BACKOFF)
