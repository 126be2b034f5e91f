"""Databases in a file, used as logs: SQLite and LMDB. A record is a row, or a value."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final

from .contender import Contender
from .record import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from .contender import Opener

_TIMEOUT_SECONDS: Final = 30.0
_TABLE: Final = "CREATE TABLE IF NOT EXISTS metrics (id INTEGER PRIMARY KEY, record TEXT NOT NULL)"
_LMDB_BYTES: Final = 1 << 30


def _connect(path: str, synchronous: str) -> sqlite3.Connection:
    # Autocommit: a single INSERT is a transaction. The timeout is how long its busy handler goes on
    # trying. Threads may use one that another opened, one at a time.
    connection = sqlite3.connect(
        path, timeout=_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute(f"PRAGMA synchronous={synchronous}")
    return connection


def _make_database(path: str) -> None:
    connection = _connect(path, "FULL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(_TABLE)
    connection.close()


def _sqlite(synchronous: str) -> Opener:
    def opener(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
        execute = _connect(path, synchronous).execute
        return lambda: execute("INSERT INTO metrics (record) VALUES (?)", (encode(record),))

    return opener


def _lines_of_database(path: str) -> list[bytes]:
    connection = sqlite3.connect(path)
    lines = [
        text.encode() + b"\n"
        for (text,) in connection.execute("SELECT record FROM metrics ORDER BY id")
    ]
    connection.close()
    return lines


def _lmdb(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
    import lmdb

    environment = lmdb.open(path, map_size=_LMDB_BYTES, writemap=True)

    def append() -> None:
        with environment.begin(write=True) as transaction, transaction.cursor() as cursor:
            number = int.from_bytes(cursor.key(), "big") + 1 if cursor.last() else 0
            cursor.put(number.to_bytes(8, "big"), encode(record).encode(), append=True)

    return append


def _lines_of_lmdb(path: str) -> list[bytes]:
    import lmdb

    with (
        lmdb.open(path, map_size=_LMDB_BYTES) as environment,
        environment.begin() as transaction,
        transaction.cursor() as cursor,
    ):
        return [bytes(value) + b"\n" for value in cursor.iternext(keys=False)]


SQLITE_FULL: Final = Contender(
    "SQLite, WAL, FULL",
    "synchronous=FULL, autocommit, busy timeout 30 s",
    is_durable=True,
    is_process_safe=True,
    side="peer",
    prepare=_make_database,
    open=_sqlite("FULL"),
    read_back=_lines_of_database,
    is_per_thread=True,
)
SQLITE_NORMAL: Final = Contender(
    "SQLite, WAL, NORMAL",
    "synchronous=NORMAL, autocommit, busy timeout 30 s",
    is_durable=False,
    is_process_safe=True,
    side="peer",
    prepare=_make_database,
    open=_sqlite("NORMAL"),
    read_back=_lines_of_database,
    is_per_thread=True,
)
LMDB: Final = Contender(
    "LMDB",
    "its default (sync) with writemap=True, which is a little quicker; numbered keys, append=True",
    is_durable=True,
    is_process_safe=True,
    side="peer",
    open=_lmdb,
    read_back=_lines_of_lmdb,
    package="lmdb",
)
