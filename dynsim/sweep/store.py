"""Store of a sweep: one SQLite file, one row per point, each batch of rows one transaction.

A row is there whole or not at all, whatever kills the process; several processes may write at once (SQLite lets one wait for
another, and a row that is there already stays). Numbers are kept as 64-bit floats, NaN as NULL.
"""

import datetime
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dynsim.analysis.columns import PARAMETERS
from dynsim.errors import FileError
from dynsim.sweep.points import Point

Results = dict[str, float | None]  # by name of their column
Row = tuple[str, Point, dict[str, Any], str, str, float, Results]  # key, point, options, status, message, seconds, results

APPLICATION = 0x44594E53  # "DYNS", says whose file this is
LAYOUT = 1
PATIENCE = 60.0  # seconds to wait for another process's transaction
FIXED = {
    "key": "TEXT PRIMARY KEY", "version": "TEXT", "method": "TEXT", "options": "TEXT",
    **dict.fromkeys(PARAMETERS, "REAL"), "seed": "INTEGER", "status": "TEXT", "message": "TEXT", "seconds": "REAL",
    "finished": "TEXT",
}


class Store:
    """An open store; a context manager.

    Parameters
    ----------
    path : str or path
        The file; made where there is none.
    write : bool
        False for reading only.

    Raises
    ------
    FileError
        If the file cannot be opened, or is not a store.

    Examples
    --------
    >>> from dynsim.sweep.store import Store
    >>> with Store("sweep.db") as store:
    ...     point = (1, 0.75, 1e6, 0.9, 0.4, 0.8, 1.2, 0)
    ...     store.add([("key", point, {"n": 8}, "done", "", 0.1, {"escape": 2.0})], "0", "mine")
    ...     store.known(["key", "other"]), store.counts()
    ({'key': 'done'}, {'0': 1})
    """

    def __init__(self, path: str | os.PathLike[str], write: bool = True) -> None:
        self.path = os.fspath(path)
        if not write and not os.path.isfile(self.path):
            raise FileError(f"there must be a store to read, found none at {self.path!r}: run the sweep first, or mend the path")
        with self._database_errors("opened"):
            # a reader, too, opens for writing where it may: a writer that was killed leaves a journal to be rolled back
            uri = "file:" + _quoted(os.path.abspath(self.path)) + ("?mode=rwc" if write else "?mode=rw")
            self._db = sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)
        try:
            with self._database_errors("opened"):
                self._check()
                if write:
                    self._make()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def known(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the status of those points that have a row.

        Parameters
        ----------
        keys : iterable of str
            Keys of points.

        Returns
        -------
        dict
            Key -> status.
        """
        keys = list(keys)
        with self._database_errors("read"):
            marks = ",".join("?" * len(keys))
            return dict(self._db.execute(f"SELECT key, status FROM points WHERE key IN ({marks})", keys))

    def add(self, rows: Sequence[Row], version: str | None, method: str, replace: bool = False) -> None:
        """Commit rows; one that is there already stays, or is replaced.

        Parameters
        ----------
        rows : sequence of tuple
            Rows (key, point, options, status, message, seconds, results).
        version : str or None
            Version of dynsim.
        method : str
            The method.
        replace : bool
            Whether rows that are there already are replaced.
        """
        with self._database_errors("written"), self._transaction():
            have = set(self.columns())
            for name in dict.fromkeys(name for row in rows for name in row[-1]):
                if name not in have:
                    self._db.execute(f'ALTER TABLE points ADD COLUMN "{name}" REAL')
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            for key, point, options, status, message, seconds, results in rows:
                text = json.dumps(options, sort_keys=True)
                row: dict[str, Any] = {"key": key, "version": version, "method": method, "options": text}
                row.update(zip([*PARAMETERS, "seed"], point, strict=True))
                row.update(status=status, message=message, seconds=seconds, finished=now, **results)
                names, marks = ",".join(f'"{name}"' for name in row), ",".join("?" * len(row))
                verb = "REPLACE" if replace else "IGNORE"
                self._db.execute(f"INSERT OR {verb} INTO points ({names}) VALUES ({marks})", list(row.values()))

    def columns(self) -> list[str]:
        """Return the names of the columns.

        Returns
        -------
        list of str
            In order.
        """
        return [row[1] for row in self._db.execute("PRAGMA table_info(points)")]

    def counts(self, column: str = "version") -> dict[str, int]:
        """Return how many rows there are of each version.

        Parameters
        ----------
        column : str
            Another column to count by: "method" or "status".

        Returns
        -------
        dict
            Value -> count.
        """
        with self._database_errors("read"):
            return dict(self._db.execute(f"SELECT {column}, count(*) FROM points GROUP BY {column} ORDER BY {column}"))

    def rows(self, version: str | None = None, method: str | None = None) -> tuple[list[str], Iterator[tuple]]:
        """Return the rows in the order of the parameters.

        Parameters
        ----------
        version : str, optional
            Of one version only.
        method : str, optional
            Of one method only.

        Returns
        -------
        names : list of str
            Names of the columns.
        rows : iterator of tuple
            The rows.
        """
        names = self.columns()
        where, asked = _where(version, method)
        order = ", ".join(["version", "method", "options", *PARAMETERS, "seed", "key"])
        return names, self._iterate(f"SELECT * FROM points {where} ORDER BY {order}", asked)

    def options(self, version: str | None = None, method: str | None = None) -> list[str]:
        """Return the names of all options that rows give.

        Parameters
        ----------
        version : str, optional
            Rows of one version only.
        method : str, optional
            Rows of one method only.

        Returns
        -------
        list of str
            Names, sorted.
        """
        where, asked = _where(version, method)
        texts = self._iterate(f"SELECT DISTINCT options FROM points {where}", asked)
        return sorted({name for (text,) in texts for name in json.loads(text)})

    def _iterate(self, query: str, values: list[str]) -> Iterator[tuple]:
        with self._database_errors("read"):
            yield from self._db.execute(query, values)

    def _check(self) -> None:
        with self._transaction("DEFERRED"):  # one snapshot for both, while another sweep may be making the store
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            application = self._db.execute("PRAGMA application_id").fetchone()[0]
        if application != APPLICATION and (application or tables):
            raise FileError(f"{self.path!r} must be a store of dynsim sweep, got some other database: give another --out")

    def _make(self) -> None:
        with self._transaction():
            if self._db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
                self._db.execute(f"PRAGMA application_id = {APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {LAYOUT}")
                fixed = ", ".join(f'"{name}" {kind}' for name, kind in FIXED.items())
                self._db.execute(f"CREATE TABLE points ({fixed}) WITHOUT ROWID")

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        self._db.execute(f"BEGIN {kind}")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _database_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise FileError(
                f"the store {self.path!r} cannot be {what} ({error}): what it holds is intact; free space, make file and folder "
                f"writable or give another --out, and the same command goes on"
            ) from None


def _where(version: str | None, method: str | None) -> tuple[str, list[str]]:
    """The condition of a query, and its values."""
    asked = {name: value for name, value in (("version", version), ("method", method)) if value is not None}
    return ("WHERE " + " AND ".join(f"{name} = ?" for name in asked) if asked else ""), list(asked.values())


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
