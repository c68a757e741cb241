"""A PostgreSQL of a test run's own."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import weakref
from pathlib import Path

from kato_tasks.testing.services import LOOPBACK, Service, ServiceFailed
from kato_tasks.testing.waiting import wait_until

USER = "kato"
"""The superuser of the cluster, who needs no password on this machine."""
_OF_DEBIAN = Path("/usr/lib/postgresql")


def postgres_programs() -> Path | None:
    """Return the directory with ``initdb`` and ``postgres``, of the newest version on this machine, else None.

    Debian keeps them where PATH does not lead.
    """
    found = [path for path in _OF_DEBIAN.glob("*/bin") if _is_whole(path)]
    if found:
        return max(found, key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)])
    named = shutil.which("initdb")
    beside = Path(named).resolve().parent if named else None
    return beside if beside is not None and _is_whole(beside) else None


class PostgresServer(Service):
    """A cluster with a data directory, a port and a socket directory of its own.

    It runs as the calling user. PostgreSQL refuses to run as root, so root starts it as the user postgres or nobody, in
    a temporary directory that belongs to that user, because nobody else may enter those of pytest. Nothing is synced to
    disk: what a test writes need not outlive the machine.
    """

    name = "postgresql"
    start_seconds = 40.0

    def __init__(self, directory: Path, *options: str) -> None:
        self._user = _other_user() if os.geteuid() == 0 else None
        if self._user is not None:
            directory = Path(tempfile.mkdtemp(prefix="kato-postgresql-"))
            weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
            os.chown(directory, self._user.pw_uid, self._user.pw_gid)
        super().__init__(directory)
        self._options = options

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Return the address of one of its databases."""
        return f"postgresql://{USER}@{LOOPBACK}:{self.port}/{database}"

    def command(self) -> list[str]:
        programs = _programs()
        data = self.directory / "data"
        if not (data / "PG_VERSION").exists():
            self._make_cluster(programs, data)
        settings = {
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "shared_buffers": "64MB",
            "max_connections": "60",
            "max_wal_size": "512MB",
            "logging_collector": "off",
        }
        words = [str(programs / "postgres"), "-D", str(data), "-p", str(self.port)]
        for name, value in settings.items():
            words += ["-c", f"{name}={value}"]
        return self._as_user([*words, *self._options])

    def environment(self) -> dict[str, str]:
        return _environment()

    def answers(self) -> bool:
        import psycopg

        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.Error:  # not up yet, or reading its log
            return False

    def stop(self) -> None:
        """End it and its connections ("fast"). SIGTERM would wait until every client has gone by itself."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server as a power cut would, and wait until its children have noticed: a new one needs them gone."""
        children = _children(self.pid) if self.pid is not None else []
        super().kill()
        wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 20, "its children end")

    def empty(self) -> None:
        """Make the database ``url`` as good as new: without connections of others, and without tables."""
        self.run_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "DROP SCHEMA public CASCADE",
            "CREATE SCHEMA public",
            "GRANT USAGE ON SCHEMA public TO PUBLIC",
        )

    def run_sql(self, *statements: str, database: str = "postgres") -> None:
        """Carry out statements, each in a transaction of its own."""
        import psycopg

        with psycopg.connect(self.url_of(database), autocommit=True, connect_timeout=5) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _make_cluster(self, programs: Path, data: Path) -> None:
        words = ["--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            self._as_user([str(programs / "initdb"), "-D", str(data), *words]),
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
            cwd=self.directory,
        )
        if done.returncode:
            shutil.rmtree(data, ignore_errors=True)
            raise ServiceFailed(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _as_user(self, command: list[str]) -> list[str]:
        if self._user is None:
            return command
        user = self._user
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--", *command]


def _is_whole(directory: Path) -> bool:
    return all((directory / program).exists() for program in ("initdb", "postgres"))


def _programs() -> Path:
    programs = postgres_programs()
    if programs is None:
        raise ServiceFailed("no initdb on this machine: install PostgreSQL (Debian: apt-get install postgresql)")
    return programs


def _environment() -> dict[str, str]:
    # PGDATA, PGPORT and the like would speak of another server.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return inherited | {"LC_ALL": "C"}


def _other_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServiceFailed("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
