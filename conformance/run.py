#!/usr/bin/env python3
"""Test suites that nobody here wrote, direct, through PgBouncer, and through Everline.

    python3 conformance/run.py                    # every suite whose tools are here
    python3 conformance/run.py pipeline asyncpg   # these alone
    UPDATE=1 python3 conformance/run.py           # writes what differs into expected.txt

Sources come from Debian's archive, PyPI and the Go module proxy, into a directory of its own
(EVERLINE_CONFORMANCE_DIR, else /tmp/everline-conformance); nothing of theirs is kept here. What
differs between direct and Everline has to stand in conformance/expected.txt, with the reason, and
nothing else may; and Everline may not be below PgBouncer.
"""

import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
WORK = pathlib.Path(os.environ.get("EVERLINE_CONFORMANCE_DIR", "/tmp/everline-conformance"))
EVERLINE = pathlib.Path(os.environ.get("EVERLINE", ROOT / "target/debug/everline"))
PGBOUNCER = os.environ.get("EVERLINE_BENCH_PGBOUNCER", "pgbouncer")
ASYNCPG = "asyncpg==0.32.0"
GO_MODULES = {"pgx": "github.com/jackc/pgx/v5@v5.7.2", "pq": "github.com/lib/pq@v1.10.9"}
MODES = ("session", "transaction")


class Skip(Exception):
    """A tool or a source is not there."""


def run(command, within=600, **more):
    """Runs to the end; output as text, killed with its children when it takes too long."""
    more.setdefault("stdout", subprocess.PIPE)
    more.setdefault("stderr", subprocess.STDOUT)
    process = subprocess.Popen(command, text=True, errors="replace", start_new_session=True, **more)
    try:
        said, _ = process.communicate(timeout=within)
        return process.returncode, said or ""
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return 124, (said or "") + "\ntoo late"


def must(command, **more):
    code, said = run(command, **more)
    if code != 0:
        raise Skip(f"{' '.join(map(str, command))[:100]}: {said[-300:].strip()}")
    return said


def need(*names):
    for name in names:
        if not shutil.which(name):
            raise Skip(f"{name} is not here")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A process that ends with us."""

    running = []

    def __init__(self, name, command, port, **more):
        log = open(WORK / f"{name}.log", "w")
        self.name, self.port = name, port
        self.process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, **more
        )
        Server.running.append(self)
        for _ in range(300):
            if self.process.poll() is not None:
                raise Skip(f"{name} has ended: {(WORK / f'{name}.log').read_text()[-400:]}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise Skip(f"{name} does not listen")

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        if self in Server.running:
            Server.running.remove(self)


def owner():
    """As whom PostgreSQL runs: it refuses root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid}


def pg_config(what):
    return must(["pg_config", f"--{what}"]).strip()


def postgres():
    bins = pathlib.Path(os.environ.get("EVERLINE_TEST_PG_BIN") or pg_config("bindir"))
    data = WORK / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    if "user" in owner():
        os.chown(data, owner()["user"], owner()["group"])
    must(
        [bins / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"],
        cwd="/", **owner(),
    )
    port = free_port()
    settings = [
        "listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={data}", "fsync=off",
        "max_connections=200", "max_prepared_transactions=10", "wal_level=logical", "timezone=PST8PDT",
        "datestyle=Postgres, MDY", "track_functions=none", "lc_messages=C", "password_encryption=scram-sha-256",
    ]
    command = [bins / "postgres", "-D", data]
    for setting in settings:
        command += ["-c", setting]
    return Server("postgres", command, port, cwd="/", **owner())


def pgbouncer(port, mode):
    need(PGBOUNCER)
    version = re.search(r"PgBouncer (\d+)\.(\d+)", must([PGBOUNCER, "--version"]))
    own = free_port()
    ini = WORK / f"pgbouncer-{mode}.ini"
    prepared = "max_prepared_statements = 200\n" if (int(version[1]), int(version[2])) >= (1, 21) else ""
    ini.write_text(
        f"[databases]\n* = host=127.0.0.1 port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {own}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n"
        f"default_pool_size = 60\nmax_client_conn = 500\nserver_tls_sslmode = disable\n{prepared}"
        "ignore_startup_parameters = extra_float_digits, options, search_path\n"
    )
    # `any` wants a user for everybody.
    ini.write_text(ini.read_text().replace(f"port={port}", f"port={port} user=postgres", 1))
    command = [PGBOUNCER, "-q", ini]
    return Server(f"pgbouncer-{mode}", command, own, cwd="/", **owner())


def everline(port, mode):
    if not EVERLINE.exists():
        raise Skip(f"{EVERLINE} is not built: cargo build -p everline")
    own = free_port()
    command = [
        EVERLINE, "--backend-dsn", f"postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable",
        "--auth", "trust", "--pool-mode", mode, "--listen", f"127.0.0.1:{own}", "--http-listen", "off",
        "--max-backend-connections", "100",
    ]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "EVERLINE_"))}
    return Server(f"everline-{mode}", command, own, env=clean)


def psql(port, sql, database="postgres"):
    return must(["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-d", database, "-c", sql])


def drop_database(server, name):
    """With the transactions that a suite has left prepared in it."""
    left = psql(server.port, f"COPY (SELECT gid FROM pg_prepared_xacts WHERE database = '{name}') TO STDOUT")
    for gid in left.split():
        psql(server.port, f"ROLLBACK PREPARED '{gid}'", name)
    psql(server.port, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def fresh_database(server, name):
    drop_database(server, name)
    psql(server.port, f'CREATE DATABASE "{name}" TEMPLATE template0')
    for setting in ("lc_messages", "lc_monetary", "lc_numeric", "lc_time"):
        psql(server.port, f"ALTER DATABASE \"{name}\" SET {setting} TO 'C'")


# ------------------------------------------------------------------------------------------------
# Sources


def debian_source(package):
    """The unpacked source of a Debian package of this machine's release."""
    need("apt-get", "dpkg-source")
    place = WORK / "debian"
    found = [entry for entry in place.glob(f"{package.rstrip('0123456789-')}*") if entry.is_dir()]
    if found:
        return found[0]
    for directory in ("lists/partial", "cache/archives/partial"):
        (place / directory).mkdir(parents=True, exist_ok=True)
    release = re.search(r"VERSION_CODENAME=(\w+)", pathlib.Path("/etc/os-release").read_text())
    if not release:
        raise Skip("no Debian")
    sources = place / "sources.list"
    sources.write_text(f"deb-src http://deb.debian.org/debian {release[1]} main\n")
    options = [
        "-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=/dev/null",
        "-o", f"Dir::State::Lists={place}/lists", "-o", f"Dir::Cache={place}/cache",
        "-o", "APT::Sandbox::User=root",
    ]
    must(["apt-get", *options, "update"], cwd=place)
    must(["apt-get", *options, "source", package], cwd=place)
    found = [entry for entry in place.glob(f"{package.rstrip('0123456789-')}*") if entry.is_dir()]
    if not found:
        raise Skip(f"no source of {package}")
    return found[0]


def postgresql_source():
    major = re.match(r"PostgreSQL (\d+)", pg_config("version"))[1]
    return debian_source(f"postgresql-{major}")


def headers():
    """Where the server's headers and static libraries are, fetched where they are not installed."""
    major = re.match(r"PostgreSQL (\d+)", pg_config("version"))[1]
    if (pathlib.Path(pg_config("includedir-server")) / "postgres_fe.h").exists():
        return pathlib.Path("/"), major
    place = WORK / "server-dev"
    if not place.exists():
        place.mkdir()
        must(["apt-get", "-o", "APT::Sandbox::User=root", "download", f"postgresql-server-dev-{major}"], cwd=place)
        must(["dpkg", "-x", next(place.glob("*.deb")), place])
    return place, major


def open_to_all(directory):
    must(["chmod", "-R", "a+rwX", directory])


# ------------------------------------------------------------------------------------------------
# Suites: each gives, for one place, the outcome of each test.


def pipeline(place, server, mode):
    """libpq_pipeline, PostgreSQL's own tests of pipelining."""
    need("gcc")
    built = WORK / "libpq_pipeline"
    if not built.exists():
        source = postgresql_source() / "src/test/modules/libpq_pipeline/libpq_pipeline.c"
        place_of, major = headers()
        must(
            ["gcc", f"-I{pg_config('includedir')}", f"-I{place_of}/usr/include/postgresql/{major}/server", source,
             "-o", built, f"-L{pg_config('libdir')}", f"-L{place_of}/usr/lib/postgresql/{major}/lib",
             "-lpq", "-lpgcommon", "-lpgport", "-lm"]
        )
    fresh_database(server, "pipeline")
    results = {}
    for test in must([built, "tests"]).split():
        dsn = f"host=127.0.0.1 port={place.port} user=postgres dbname=pipeline"
        code, said = run([built, test, dsn], within=30)
        results[test] = (code == 0, said)
    return results


# PostgreSQL's isolation tests are not among them: they ask which session blocks which by the process
# ids of the logins, and those are the pooler's, so that each step that blocks is waited for in vain.


def regress_tests(place, server, schedule, program, directory):
    major = re.match(r"PostgreSQL (\d+)", pg_config("version"))[1]
    binary = pathlib.Path(pg_config("pkglibdir")) / "pgxs/src/test" / directory / program
    if not binary.exists():
        raise Skip(f"{binary} is not here (postgresql-server-dev-{major} has it)")
    source = postgresql_source() / "src/test" / directory
    out = WORK / f"{directory}-{place.name}"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(source, out)
    for name in ("testtablespace", "results"):
        (out / name).mkdir(exist_ok=True)
    if directory == "regress":
        need("gcc")
        place_of, _ = headers()
        # The source's own headers first: those that were fetched may be of another minor version.
        include = [f"-I{source.parents[1]}/include", f"-I{place_of}/usr/include/postgresql/{major}/server"]
        must(["gcc", "-shared", "-fPIC", *include, "-o", out / "regress.so", out / "regress.c"])
    open_to_all(out)
    name = f"{directory}_{place.name.replace('-', '_')}" if directory != "regress" else "regression"
    fresh_database(server, name)
    command = [
        binary, "--use-existing", f"--dbname={name}", "--host=127.0.0.1", f"--port={place.port}",
        "--user=postgres", f"--inputdir={out}", f"--outputdir={out}", f"--dlpath={out}",
        f"--bindir={pg_config('bindir')}", "--max-connections=6", f"--schedule={out / schedule}",
    ]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    _, said = run(command, within=1200, cwd=out, env=clean, **owner())
    results = {}
    for line in said.splitlines():
        found = re.match(r"(?:test|ok|not ok| +)\s*(?:\d+\s+[+-]\s+)?([\w-]+)\s*\.\.\.\s*(\w+)", line)
        if found:
            results[found[1]] = (found[2] == "ok", line)
    if not results:
        raise Skip(f"{program}: {said[-400:]}")
    diffs = out / "regression.diffs"
    for test in re.findall(r"^diff .*/(\w[\w-]*)\.out$", diffs.read_text(errors="replace") if diffs.exists() else "", re.M):
        results.setdefault(test, (False, "differs"))
    drop_database(server, name)
    return results


def regress(place, server, mode):
    """pg_regress, PostgreSQL's own regression tests."""
    if mode != "session":
        return None
    return regress_tests(place, server, "parallel_schedule", "pg_regress", "regress")


def asyncpg(place, server, mode):
    """asyncpg's own tests."""
    need("python3")
    home = WORK / "asyncpg"
    python = home / "venv/bin/python"
    if not (home / "tests").exists():
        home.mkdir(exist_ok=True)
        must([sys.executable, "-m", "venv", home / "venv"])
        must([python, "-m", "pip", "install", "-q", ASYNCPG, "pytest", "pytest-timeout", "distro"])
        must([python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "asyncpg", ASYNCPG, "-d", home])
        must(["tar", "-xzf", next(home.glob("asyncpg-*.tar.gz")), "--strip-components=1", "-C", home], cwd=home)
        shutil.rmtree(home / "asyncpg", ignore_errors=True)  # the built one counts
    psql(server.port, "ALTER DATABASE template1 RESET ALL")
    fresh_database(server, "apg")
    ignored = ("_sourcecode", "_environment", "connect", "scram", "subinterpreters", "adversity")
    command = [python, "-m", "pytest", "-q", "--timeout=30", "-p", "no:cacheprovider", "-rA", "--tb=line", "tests"]
    for name in ignored:
        stem = "test_" + name
        command += ["--ignore", f"tests/{stem}.py"]
    here = {"PGHOST": "127.0.0.1", "PGPORT": str(place.port), "PGUSER": "postgres", "PGDATABASE": "apg"}
    _, said = run(command, within=900, cwd=home, env={**os.environ, **here})
    results = {}
    for outcome, name in re.findall(r"^(PASSED|FAILED|ERROR) (tests/\S+)", said, re.M):
        results[name.removeprefix("tests/")] = (outcome == "PASSED", outcome)
    if not results:
        raise Skip(f"asyncpg: {said[-400:]}")
    return results


def go_tests(place, server, which, environment, packages):
    need("go")
    home = WORK / which
    module = GO_MODULES[which]
    if not home.exists():
        must(["go", "mod", "download", module], env={**os.environ, "GOFLAGS": "-mod=mod"}, cwd="/")
        cache = must(["go", "env", "GOMODCACHE"], cwd="/").strip()
        shutil.copytree(f"{cache}/{module}", home)
        must(["chmod", "-R", "u+w", home])
    _, said = run(
        ["go", "test", "-p", "1", "-count=1", "-timeout", "240s", "-v", *packages],
        within=900, cwd=home, env={**os.environ, **environment},
    )
    results = {}
    for outcome, name in re.findall(r"^--- (PASS|FAIL|SKIP): (\S+)", said, re.M):
        if outcome != "SKIP":
            results[name] = (outcome == "PASS", outcome)
    hung = re.search(r"panic: test timed out.*?running tests:\s+(\S+)", said, re.S)
    if hung:
        results[hung[1]] = (False, "too late")
    if not results:
        raise Skip(f"{which}: {said[-400:]}")
    return results


def pgx(place, server, mode):
    """pgx's own tests of the connection and the driver."""
    fresh_database(server, "pgx_test")
    psql(server.port, "CREATE EXTENSION IF NOT EXISTS hstore; CREATE EXTENSION IF NOT EXISTS ltree", "pgx_test")
    dsn = f"host=127.0.0.1 port={place.port} user=postgres dbname=pgx_test sslmode=disable"
    return go_tests(place, server, "pgx", {"PGX_TEST_DATABASE": dsn}, ["./pgconn", "."])


def pq(place, server, mode):
    """lib/pq's own tests."""
    fresh_database(server, "pqgotest")
    here = {
        "PGHOST": "127.0.0.1", "PGPORT": str(place.port), "PGUSER": "postgres", "PGDATABASE": "pqgotest",
        "PGSSLMODE": "disable", "PQGOSSLTESTS": "0",
    }
    return go_tests(place, server, "pq", here, ["."])


SUITES = {
    "pipeline": pipeline, "regress": regress, "asyncpg": asyncpg, "pgx": pgx, "pq": pq,
}

# ------------------------------------------------------------------------------------------------


def expectations():
    """suite/mode/test = reason."""
    path = HERE / "expected.txt"
    known = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.partition(" = ")
            known[name.strip()] = reason.strip()
    return known


def below(results, direct):
    """What passes direct and does not pass here."""
    return sorted(test for test, (ok, _) in direct.items() if ok and not results.get(test, (False, ""))[0])


def count(results):
    return f"{sum(ok for ok, _ in results.values())}/{len(results)}"


def main():
    wanted = sys.argv[1:] or list(SUITES)
    unknown = [name for name in wanted if name not in SUITES]
    if unknown:
        sys.exit(f"no suite {', '.join(unknown)}; there are {', '.join(SUITES)}")
    WORK.mkdir(parents=True, exist_ok=True)
    WORK.chmod(0o755)
    known, met, bad, lines = expectations(), {}, [], []
    try:
        server = postgres()
        direct_place = server
        places = {}
        for mode in MODES:
            places[mode] = {"everline": everline(server.port, mode)}
            try:
                places[mode]["pgbouncer"] = pgbouncer(server.port, mode)
            except Skip as why:
                print(f"skipped: PgBouncer: {why}")
        for suite in wanted:
            direct = None
            for mode in MODES:
                try:
                    if direct is None:
                        direct = SUITES[suite](direct_place, server, mode)
                        if direct is None:
                            continue
                    line = f"{suite}, {mode}: direct {count(direct)}"
                    worse = {}
                    for name, place in places[mode].items():
                        results = SUITES[suite](place, server, mode)
                        if results is None:
                            line = None
                            break
                        worse[name] = below(results, direct)
                        if name == "everline":
                            for test in worse[name]:
                                met[f"{suite}/{mode}/{test}"] = results.get(test, (False, "not run"))[1]
                        line += f", {name} {count(results)}"
                    if line is None:
                        continue
                    ours = worse["everline"]
                    line += f"; below direct: everline {len(ours)}"
                    if "pgbouncer" in worse:
                        line += f", pgbouncer {len(worse['pgbouncer'])}"
                        if len(ours) > len(worse["pgbouncer"]):
                            bad.append(f"{suite}, {mode}: below PgBouncer")
                    lines.append(line)
                    print(line, flush=True)
                    for test in ours:
                        also = " (PgBouncer too)" if test in worse.get("pgbouncer", []) else ""
                        print(f"  {test}{also}: {known.get(f'{suite}/{mode}/{test}', 'NOT EXPECTED')}", flush=True)
                except Skip as why:
                    print(f"skipped: {suite}, {mode}: {why}", flush=True)
    finally:
        for running in reversed(Server.running[:]):
            running.end()
    tried = {line.split(":")[0].replace(", ", "/") for line in lines}
    for name in met:
        if name not in known:
            bad.append(f"{name}: differs from direct, and is not expected to")
    for name in known:
        if "/".join(name.split("/")[:2]) in tried and name not in met:
            bad.append(f"{name}: is expected to differ, and does not")
    if os.environ.get("UPDATE"):
        kept = {name: reason for name, reason in known.items() if "/".join(name.split("/")[:2]) not in tried or name in met}
        kept.update({name: "?" for name in met if name not in kept})
        head = (HERE / "expected.txt").read_text().split("\n\n")[0] if (HERE / "expected.txt").exists() else "#"
        text = "".join(f"{name} = {reason}\n" for name, reason in sorted(kept.items()))
        (HERE / "expected.txt").write_text(f"{head}\n\n{text}")
    print("\n".join(bad) or "as expected")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
