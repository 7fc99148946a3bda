"""The desk's own store: SQLite in WAL mode. A write is acknowledged after its transaction has been committed."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from apps.demo.desk.fields import COLLECTIONS, complete

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY,
    collection TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    body TEXT NOT NULL,
    created_at TEXT NOT NULL,
    UNIQUE (collection, id)
);
CREATE INDEX IF NOT EXISTS newest ON record (collection, seq);
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    request TEXT NOT NULL,
    actor TEXT NOT NULL,
    collection TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    answer TEXT NOT NULL,
    at TEXT NOT NULL,
    kind TEXT NOT NULL DEFAULT 'change'
);
CREATE INDEX IF NOT EXISTS journal_of_record ON journal (collection, id);
CREATE TRIGGER IF NOT EXISTS journal_keeps_rows BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'journal rows are append-only'); END;
CREATE TRIGGER IF NOT EXISTS journal_keeps_facts BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'journal rows are append-only'); END;
"""

ROWS_PER_COMMIT: Final = 500
CHANGE: Final = "change"
CREATE: Final = "create"
"""Kinds of journal rows: what a write did to its record."""
_JOURNAL: Final = ("seq", "kind", "key", "actor", "collection", "id", "version", "before", "after", "at")


class RecordMissing(LookupError):
    """The collection has no record of that id."""


class Changed(Exception):
    """The record has another version than the writer saw. Nothing was written."""

    def __init__(self, version: int) -> None:
        super().__init__(f"The record is at version {version}.")
        self.version = version


class Exists(Exception):
    """The collection has a record of that id, which stays as it is. Nothing was written."""

    def __init__(self, version: int) -> None:
        super().__init__(f"The record exists at version {version}.")
        self.version = version


class KeyReused(Exception):
    """The idempotency key already belongs to another request. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One record as the API shows it."""

    version: int
    fields: dict[str, Any]

    def as_json(self) -> str:
        return json.dumps(self.fields, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Written:
    version: int
    answer: str
    is_replay: bool


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One applied write: only the fields it set, before and after."""

    seq: int
    kind: str
    key: str
    actor: str
    collection: str
    id: str
    version: int
    before: dict[str, Any]
    after: dict[str, Any]
    at: str


class Store:
    """One open connection to the store in a folder. Other processes may open the same folder."""

    def __init__(self, folder: Path, *, synchronous: str = "normal") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "desk.sqlite3", isolation_level=None, timeout=10)
        self._db.execute("PRAGMA journal_mode = WAL")
        # NORMAL keeps every acknowledged write when the process is killed; FULL also when the power fails.
        self._db.execute(f"PRAGMA synchronous = {'FULL' if synchronous == 'full' else 'NORMAL'}")
        self._db.execute("PRAGMA cache_size = -4096")
        self._db.executescript(SCHEMA)
        self._add_kind()

    def close(self) -> None:
        self._db.close()

    def get(self, collection: str, record_id: str) -> Stored:
        row = self._db.execute(
            "SELECT id, version, body, created_at FROM record WHERE collection = ? AND id = ?", (collection, record_id)
        ).fetchone()
        if row is None:
            raise RecordMissing(record_id)
        return _stored(collection, *row)

    def find(
        self, collection: str, *, where: Mapping[str, str], text: str, limit: int, skip: int
    ) -> tuple[list[Stored], int]:
        """Return one page of records, newest first, and how many match in all."""
        conditions, values = ["collection = ?"], [collection]
        for name, value in where.items():
            conditions.append("id = ?" if name == "id" else f"json_extract(body, '$.{_known(collection, name)}') = ?")
            values.append(value)
        if text:
            conditions.append("(id LIKE ? ESCAPE '\\' OR body LIKE ? ESCAPE '\\')")
            pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            values += [pattern, pattern]
        matching = f"FROM record WHERE {' AND '.join(conditions)}"
        total = self._db.execute(f"SELECT count(*) {matching}", values).fetchone()[0]
        rows = self._db.execute(
            f"SELECT id, version, body, created_at {matching} ORDER BY seq DESC LIMIT ? OFFSET ?",
            (*values, limit, skip),
        ).fetchall()
        return [_stored(collection, *row) for row in rows], total

    def change(
        self, collection: str, record_id: str, *, changes: Mapping[str, Any], version: int, key: str, actor: str
    ) -> Written:
        """Apply one write with its journal row in one transaction, or answer a repeat with the first answer."""
        request = _request_hash(collection, record_id, changes)
        with self._transaction():
            earlier = self._earlier(key, request)
            if earlier is not None:
                return earlier
            stored = self.get(collection, record_id)
            if stored.version != version:
                raise Changed(stored.version)
            body = {name: stored.fields[name] for name in COLLECTIONS[collection]}
            before = {name: body[name] for name in changes}
            body.update(changes)
            new = Stored(version + 1, {**stored.fields, **body, "version": version + 1})
            self._db.execute(
                "UPDATE record SET body = ?, version = ? WHERE collection = ? AND id = ?",
                (_compact(body), version + 1, collection, record_id),
            )
            return self._enter(
                CHANGE, collection, new, before=before, after=changes, key=key, request=request, actor=actor
            )

    def create(self, collection: str, record_id: str, *, record: Mapping[str, Any], key: str, actor: str) -> Written:
        """Store one new record with its journal row in one transaction, or answer a repeat with the first answer."""
        request = _request_hash(CREATE, collection, record_id, record)
        with self._transaction():
            earlier = self._earlier(key, request)
            if earlier is not None:
                return earlier
            is_new = self._insert(collection, {**record, "id": record_id})
            new = self.get(collection, record_id)
            if not is_new:
                raise Exists(new.version)
            return self._enter(CREATE, collection, new, before={}, after=record, key=key, request=request, actor=actor)

    def add(self, collection: str, records: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
        """Store new records; ids that exist stay as they are. Return (created, existing). Arrivals are not journaled."""
        created = existing = 0
        for batch in _batches(records, ROWS_PER_COMMIT):
            with self._transaction():
                for record in batch:
                    done = self._insert(collection, record)
                    created += done
                    existing += 1 - done
        return created, existing

    def journal(
        self, *, after: int = 0, limit: int = 1_000, of: tuple[str, str] | None = None, newest_first: bool = False
    ) -> list[JournalRow]:
        """Return applied writes after a sequence number, of all records or of one (collection, id)."""
        order = "DESC" if newest_first else "ASC"
        of_one = "AND collection = ? AND id = ?" if of else ""
        rows = self._db.execute(
            f"SELECT {', '.join(_JOURNAL)} FROM journal"  # noqa: S608 only our own words
            f" WHERE seq > ? {of_one} ORDER BY seq {order} LIMIT ?",
            (after, *(of or ()), limit),
        ).fetchall()
        return [
            JournalRow(**dict(zip(_JOURNAL, (*row[:7], json.loads(row[7]), json.loads(row[8]), row[9]), strict=True)))
            for row in rows
        ]

    def counts(self) -> dict[str, int]:
        """Return how many tickets, customers, applied writes and, among these, creations there are."""
        counted = dict(self._db.execute("SELECT collection, count(*) FROM record GROUP BY collection").fetchall())
        kinds = dict(self._db.execute("SELECT kind, count(*) FROM journal GROUP BY kind").fetchall())
        told = {"writes": sum(kinds.values()), "created": kinds.get(CREATE, 0)}
        return {**{name: counted.get(name, 0) for name in COLLECTIONS}, **told}

    def _add_kind(self) -> None:
        """Bring a store of an earlier version up to date: its journal knew only changes."""
        if self._has_kind():
            return
        with self._transaction():
            # Another process may have been quicker while this one waited.
            if not self._has_kind():
                self._db.execute("ALTER TABLE journal ADD COLUMN kind TEXT NOT NULL DEFAULT 'change'")

    def _has_kind(self) -> bool:
        return "kind" in {row[1] for row in self._db.execute("PRAGMA table_info(journal)")}

    def _earlier(self, key: str, request: str) -> Written | None:
        row = self._db.execute("SELECT request, version, answer FROM journal WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if row[0] != request:
            raise KeyReused
        return Written(version=row[1], answer=row[2], is_replay=True)

    def _insert(self, collection: str, record: Mapping[str, Any]) -> int:
        return self._db.execute(
            "INSERT OR IGNORE INTO record (collection, id, version, body, created_at) VALUES (?, ?, 1, ?, ?)",
            (collection, record["id"], _compact(complete(collection, record)), _now()),
        ).rowcount

    def _enter(
        self,
        kind: str,
        collection: str,
        new: Stored,
        *,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        key: str,
        request: str,
        actor: str,
    ) -> Written:
        answer = new.as_json()
        told = (kind, key, request, actor, collection, new.fields["id"], new.version)
        self._db.execute(
            "INSERT INTO journal (kind, key, request, actor, collection, id, version, before, after, answer, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*told, _compact(before), _compact(after), answer, _now()),
        )
        return Written(version=new.version, answer=answer, is_replay=False)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _stored(collection: str, record_id: str, version: int, body: str, created_at: str) -> Stored:
    return Stored(version, {"id": record_id, **json.loads(body), "version": version, "created_at": created_at})


def _known(collection: str, name: str) -> str:
    if name not in COLLECTIONS[collection]:
        raise KeyError(name)
    return name


def _request_hash(*request: Any) -> str:
    text = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _batches(records: Iterable[Mapping[str, Any]], size: int) -> Iterator[Sequence[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    for record in records:
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
