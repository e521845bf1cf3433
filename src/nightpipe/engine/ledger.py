"""What was run and made: a database that only the coordinator writes and that can be made again from the products."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

import nightpipe
from nightpipe.base.errors import StoreError
from nightpipe.base.plain import toml_value
from nightpipe.engine.decisions import Decision
from nightpipe.engine.store import HIDDEN
from nightpipe.io.raw import checksum

FILE = "ledger.sqlite"
SCHEMA = 1

TABLES = sql.MetaData()
META = sql.Table("meta", TABLES, sql.Column("schema", sql.Integer))
RUNS = sql.Table(
    "runs",
    TABLES,
    sql.Column("id", sql.Integer, primary_key=True),
    *(sql.Column(name, sql.Text) for name in ("started", "ended", "host", "version", "command", "status")),
    sql.Column("pid", sql.Integer),
)
TASKS = sql.Table(
    "tasks",
    TABLES,
    sql.Column("run", sql.Integer),
    *(sql.Column(name, sql.Text) for name in ("node", "key", "recipe", "state")),
    sql.Column("reused", sql.Boolean),
    *(sql.Column(name, sql.Float) for name in ("seconds", "cpu_seconds", "peak_mb")),
)
PRODUCTS = sql.Table(
    "products",
    TABLES,
    sql.Column("path", sql.Text, primary_key=True),
    *(sql.Column(name, sql.Text) for name in ("key", "output", "node", "target", "sha256", "made")),
)
METRICS = sql.Table(
    "metrics",
    TABLES,
    *(sql.Column(name, sql.Text) for name in ("key", "node", "name", "unit")),
    sql.Column("value", sql.Float),
)
DECISIONS = sql.Table(
    "decisions",
    TABLES,
    *(
        sql.Column(name, sql.Text)
        for name in ("exposure", "parameter", "value", "why", "who", "when", "instrument", "sha256")
    ),
)
FILES = sql.Table(
    "files",
    TABLES,
    sql.Column("path", sql.Text, primary_key=True),
    sql.Column("size", sql.Integer),
    sql.Column("mtime_ns", sql.Integer),
    sql.Column("sha256", sql.Text),
)


class Ledger:
    """The tables `runs`, `tasks`, `products`, `metrics`, `decisions` and `files` (checksums seen) of an output folder.

    `url` may name any database that SQLAlchemy knows; by default it is a file in the output folder. A schema of
    another version is dropped: `rebuild` fills the tables again. Raises StoreError where nothing can be written.
    """

    def __init__(self, out: str | Path, url: str = "") -> None:
        folder = Path(out) / HIDDEN
        self._engine = sql.create_engine(url or f"sqlite:///{folder / FILE}")
        if not url:
            sql.event.listen(self._engine, "connect", _unhurried)
        self.fresh = False
        with _written(folder):
            if not url:
                folder.mkdir(parents=True, exist_ok=True)
            self._prepare()

    def _prepare(self) -> None:
        with self._engine.begin() as database:
            known = sql.inspect(database).has_table("meta")
            if known and database.scalar(sql.select(META.c.schema)) == SCHEMA:
                return
            TABLES.drop_all(database)
            TABLES.create_all(database)
            database.execute(META.insert().values(schema=SCHEMA))
            self.fresh = True

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def begin(self, command: str) -> int:
        """Note that a run starts and return its number."""
        row = {"started": _now(), "host": os.uname().nodename, "pid": os.getpid(), "version": nightpipe.__version__}
        with self._writing() as database:
            insert = RUNS.insert().values(**row, command=command, status="running").returning(RUNS.c.id)
            return int(database.scalar(insert) or 0)

    def end(self, run: int, status: str) -> None:
        """Note how a run ended."""
        with self._writing() as database:
            database.execute(RUNS.update().where(RUNS.c.id == run).values(ended=_now(), status=status))

    def task(self, run: int, record: Mapping[str, Any], *, reused: bool) -> None:
        """Note the outcome of a node, with its metrics."""
        row = {name: record.get(name) for name in TASKS.c.keys() if name not in ("run", "reused")}  # noqa: SIM118
        metrics = [
            {"key": record["key"], "node": record["node"], "name": name, "value": value, "unit": unit}
            for name, (value, unit) in record.get("metrics", {}).items()
        ]
        with self._writing() as database:
            database.execute(TASKS.insert().values(run=run, reused=reused, **row))
            database.execute(METRICS.delete().where(METRICS.c.key == record["key"]))
            if metrics:
                database.execute(METRICS.insert(), metrics)

    def product(self, path: str, record: Mapping[str, Any], output: str, sha256: str) -> None:
        """Note a product under its human name; a later one of the same name takes its place."""
        target = str(record.get("provenance", {}).get("target", ""))
        row = {"key": record["key"], "node": record["node"], "target": target, "output": output, "sha256": sha256}
        with self._writing() as database:
            database.execute(PRODUCTS.delete().where(PRODUCTS.c.path == path))
            database.execute(PRODUCTS.insert().values(path=path, made=_now(), **row))

    def key_of(self, path: str) -> str:
        """Return the key from which a product was made, or an empty text."""
        with self._engine.connect() as database:
            return str(database.scalar(sql.select(PRODUCTS.c.key).where(PRODUCTS.c.path == path)) or "")

    def decisions(self, standing: Iterable[Decision]) -> None:
        """Mirror the decisions file, which alone counts."""
        rows = [asdict(decision) | {"value": toml_value(decision.value)} for decision in standing]
        for row in rows:
            row.pop("withdrawn")
        with self._writing() as database:
            database.execute(DECISIONS.delete())
            if rows:
                database.execute(DECISIONS.insert(), rows)

    def checksum(self, path: str) -> str:
        """Return a file's sha256, computed once for each size and time of change."""
        status = Path(path).stat()
        same = (FILES.c.path == path) & (FILES.c.size == status.st_size) & (FILES.c.mtime_ns == status.st_mtime_ns)
        with self._engine.connect() as database:
            known = database.scalar(sql.select(FILES.c.sha256).where(same))
        return str(known) if known else self._summed(path, status)

    def _summed(self, path: str, status: os.stat_result) -> str:
        row = {"path": path, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": checksum(path)}
        with self._writing() as database:
            database.execute(FILES.delete().where(FILES.c.path == path))
            database.execute(FILES.insert().values(**row))
        return str(row["sha256"])

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return all rows of a table."""
        with self._engine.connect() as database:
            return [dict(row._mapping) for row in database.execute(sql.select(TABLES.tables[table]))]  # noqa: SLF001

    def rebuild(
        self, records: Iterable[Mapping[str, Any]], products: Iterable[tuple[str, Mapping[str, Any], str, str]]
    ) -> None:
        """Fill tasks, metrics and products again from stored records and from ``(path, record, output, sha256)``."""
        run = self.begin("rebuild")
        for record in records:
            self.task(run, record, reused=True)
        for path, record, output, sha256 in products:
            self.product(path, record, output, sha256)
        self.end(run, "rebuilt")

    @contextmanager
    def _writing(self) -> Iterator[sql.Connection]:
        with _written(self._engine.url.database or "ledger"), self._engine.begin() as database:
            yield database


def _unhurried(connection: Any, _record: Any) -> None:
    """Let the system write when it likes: a ledger lost with the power is made again from the products."""
    connection.execute("PRAGMA synchronous=OFF")


@contextmanager
def _written(where: str | Path) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        reason = getattr(error, "orig", None) or error
        raise StoreError(
            "a ledger to write to", f"{where}: {reason}", "free some space or choose another --out"
        ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
