#!/usr/bin/env bash
# The same statements by a Gel client and by a PostgreSQL client, through one Everline that is
# running already, with a certificate for its PostgreSQL clients too:
#   LAB_HOST=127.0.0.1 LAB_PORT=5656 LAB_PG_PORT=6432 LAB_USER=app LAB_PASSWORD=... LAB_DATABASE=app \
#     LAB_PID=$(pidof everline) LAB_PG_PID=... tests/gel/speed.sh
# Both are Python with codecs in C of one family (gel, asyncpg), so that they can be compared.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=../../target/gel-speed
[ -x "$venv/bin/python" ] || {
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet gel==3.1.0 asyncpg==0.30.0
}
exec "$venv/bin/python" -B python/speed.py
