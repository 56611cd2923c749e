"""One SQLite file as the state of a storage system: opened and seeded once, shared by processes and threads."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from storage_backends.errors import BackendUnavailable, InvalidRequest, OutcomeUnclear, StorageError

#: A function that works on the state.
Use = Callable[[sqlite3.Connection], None]

#: Incremented whenever SCHEMA changes.
VERSION = 1
#: Between two attempts to lock the file while it is opened.
_LOCK_RETRY_S = 0.05

SCHEMA = (
    """CREATE TABLE volumes (
        name TEXT PRIMARY KEY, live INTEGER NOT NULL, junction TEXT, policy TEXT, record TEXT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX live_volumes ON volumes (name) WHERE live",
    "CREATE UNIQUE INDEX live_junctions ON volumes (junction) WHERE live AND junction IS NOT NULL",
    "CREATE INDEX live_policies ON volumes (policy) WHERE live AND policy IS NOT NULL",
    """CREATE TABLE snapshots (
        number INTEGER PRIMARY KEY AUTOINCREMENT, volume TEXT NOT NULL, name TEXT NOT NULL,
        creation_time TEXT NOT NULL, size_kbytes INTEGER NOT NULL, record TEXT NOT NULL, UNIQUE (volume, name)
    )""",
    "CREATE TABLE locks (volume TEXT PRIMARY KEY, host TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE policies (name TEXT PRIMARY KEY, rules TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE effects (
        job_id TEXT PRIMARY KEY, operation TEXT NOT NULL, applied INTEGER NOT NULL, value TEXT, at REAL NOT NULL
    ) WITHOUT ROWID""",
)


class _Connection(sqlite3.Connection):
    """A connection that supports weak references: it is closed with its thread, or earlier by another one."""


class Database:
    """The state of one storage system.

    A process may be killed at any time: transactions are atomic (write-ahead log). A power failure
    may lose the last transactions, as ``synchronous`` is NORMAL. A process that is stopped (SIGSTOP) while it opens the
    file, or in the middle of a transaction, which takes about a millisecond, keeps others from the same until it
    continues or is killed: their calls raise ``BackendUnavailable`` meanwhile.
    """

    def __init__(self, path: Path, *, seed: Use, prune: Use, lock_timeout_s: float = 15.0) -> None:
        """Set the path of the file; opens nothing yet.

        ``seed`` fills a new one, in the transaction that creates it; ``prune`` runs whenever a process opens it.
        """
        self._path = path
        self._seed = seed
        self._prune = prune
        self._lock_timeout_s = lock_timeout_s
        self._local = threading.local()
        self._opened: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._inherited: list[_Connection] = []
        self._prepared = False
        self._preparing = threading.Lock()
        self._listing = threading.Lock()
        self._writing = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Provide a consistent snapshot of the state inside the block.

        Raises:
            BackendUnavailable: the file cannot be used.
        """
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """Provide the state to one writer: commit at the end of the block, roll back when it raises.

        Raises:
            BackendUnavailable: the file cannot be used, and nothing was changed.
            OutcomeUnclear: the commit failed, with an unknown outcome.
        """
        with self._turn(), self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Serialise the writers of this process; SQLite itself would poll."""
        # SQLite's own lock decides if the holder never releases this one (after a fork).
        mine = self._writing.acquire(timeout=self._lock_timeout_s)
        try:
            yield
        finally:
            if mine:
                self._writing.release()

    def close(self) -> None:
        """Close the connections of all threads of this process."""
        with self._listing:
            opened = list(self._opened)
        for connection in opened:
            connection.close()
        self._local = threading.local()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connection()
            connection.execute(begin)
        except (sqlite3.Error, OSError) as error:
            raise _unavailable(error) from error
        try:
            yield connection
        except sqlite3.Error as error:
            _roll_back(connection)
            raise _unavailable(error) from error
        except UnicodeEncodeError as error:
            _roll_back(connection)
            raise InvalidRequest("a name is not valid Unicode text") from error
        except BaseException:
            _roll_back(connection)
            raise
        _commit(connection)

    def _connection(self) -> _Connection:
        """Return this thread's connection; one inherited by a fork is neither used nor closed."""
        connection: _Connection | None = getattr(self._local, "connection", None)
        if connection is not None and self._local.pid == os.getpid():
            return connection
        if connection is not None:
            self._inherited.append(connection)
            with self._listing:
                self._opened.discard(connection)
        with self._preparing:
            if not self._prepared:
                self._prepare()
                self._prepared = True
        connection = self._connect()
        self._local.connection, self._local.pid = connection, os.getpid()
        return connection

    def _connect(self) -> _Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=self._lock_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        connection.execute("PRAGMA synchronous = NORMAL")
        with self._listing:
            self._opened.add(connection)
        return connection

    def _prepare(self) -> None:
        """Create and fill a new file; of several processes that start at once, one does so."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_name(self._path.name + ".lock").open("a") as lock:
            self._lock(lock)
            connection = self._connect()
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                self._make(connection)
                self._prune(connection)
            finally:
                # Rolls back what was not committed.
                connection.close()

    def _lock(self, file: IO[str]) -> None:
        """Lock a file; the kernel releases it when the process ends for whatever reason.

        Raises:
            BlockingIOError: another process, which may be stopped, has had it locked for too long.
        """
        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_LOCK_RETRY_S)
            else:
                return

    def _make(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == VERSION:
            return
        if version != 0:
            raise StorageError("the dummy's state was made by another release: move its file away")
        connection.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            connection.execute(statement)
        self._seed(connection)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")


def _commit(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            _roll_back(connection)
            raise _unavailable(error) from error
        raise OutcomeUnclear("the dummy's state could not be written") from error


def _roll_back(connection: sqlite3.Connection) -> None:
    # After some errors SQLite has rolled back itself; if that fails, closing the connection does it.
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _unavailable(error: Exception) -> BackendUnavailable:
    # Only the reason: the full text would name files.
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return BackendUnavailable(f"the dummy's state cannot be used: {reason}")
