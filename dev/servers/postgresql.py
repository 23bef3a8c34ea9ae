"""A PostgreSQL of our own."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg import sql

from dev import programs
from dev.processes import end, spawn
from dev.servers.base import PASSWORD, USER, NotReadyError, Server, ServerError


class PostgreSQL(Server):
    """As durable as PostgreSQL is by default. The user `dev` owns everything."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait for every client to leave

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        """Also takes the caller's PG… variables away from this process: they are meant for another server."""
        super().__init__(folder, port=port)
        for variable in [name for name in os.environ if name.startswith("PG")]:
            del os.environ[variable]

    def discard(self) -> None:
        """By SIGQUIT: by SIGKILL it would leave its shared memory behind for ever."""
        if self.process is not None:
            end(self.process, by=signal.SIGQUIT, within=5)
            self.process = None

    @property
    def url(self) -> str:
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        return f"postgres://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def launch(self) -> None:
        bin_folder = programs.find_postgresql()
        if bin_folder is None:
            raise ServerError("PostgreSQL's server programs are not installed: `python -m dev.packages servers`")
        self._prepare_folder()
        data = self.folder / "data"
        if not data.exists():
            self._initdb(bin_folder / "initdb", data)
        self._check_version(bin_folder / "postgres", data)
        # Left by a killed server, whose number may still exist: as a zombie, or another's. `stop_left_over` has looked.
        (data / "postmaster.pid").unlink(missing_ok=True)
        # No socket file: its path may have 107 bytes, and a project's is often longer.
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        command: list[str | Path] = [bin_folder / "postgres", "-D", data]
        for name, value in (options | {"max_connections": 200}).items():
            command += ["-c", f"{name}={value}"]
        self._spawn(command, self._environment())

    def probe(self) -> None:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            raise NotReadyError from error

    def create_database(self, name: str) -> str:
        """The URL of the database `name`, which is made if it does not exist."""
        with psycopg.connect(self.url, autocommit=True) as connection, suppress(psycopg.errors.DuplicateDatabase):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop it, even while somebody is connected to it. Does nothing if it does not exist."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _initdb(self, initdb: Path, data: Path) -> None:
        # Under another name first, so that an initdb that is cut short leaves nothing that looks finished.
        unfinished = self.folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        password = self.folder / "password"
        password.write_text(PASSWORD)
        command: list[str | Path] = [initdb, "-D", unfinished, "-U", USER, "--pwfile", password]
        command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"]
        with self.log.open("wb") as log:
            process = spawn(command, cwd=self.folder, env=self._environment(), output=log, user=self.user)
        if process.wait():
            raise ServerError(f"PostgreSQL's initdb failed. {self.last_words()}")
        unfinished.rename(data)

    def _check_version(self, postgres: Path, data: Path) -> None:
        made_by = (data / "PG_VERSION").read_text().strip()
        said = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True).stdout
        installed = said.split()[2].partition(".")[0]
        if made_by != installed:
            raise ServerError(
                f"{data} was made by PostgreSQL {made_by}, and this machine has {installed}: install {made_by} again, "
                "or start anew with `make clean-data`."
            )
