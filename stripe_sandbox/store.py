"""Where everything is kept: JSON documents and a few small tables in one SQLite database.

One transaction per API request holds the objects, their events, the deliveries and the idempotency record together,
so a process that is killed has either all of a request or nothing. Writers take turns; a request takes milliseconds.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

Document = dict[str, Any]

# What lists are filtered by: for each kind, a name and the path of its value within the document.
INDEXES: dict[str, dict[str, str]] = {
    "balance_transaction": {"source": "source", "type": "type", "payout": "_payout"},
    "charge": {"customer": "customer", "payment_intent": "payment_intent", "transfer_group": "transfer_group"},
    "checkout.session": {
        "customer": "customer",
        "payment_intent": "payment_intent",
        "payment_link": "payment_link",
        "setup_intent": "setup_intent",
        "status": "status",
        "subscription": "subscription",
    },
    "credit_note": {"invoice": "invoice", "customer": "customer"},
    "customer": {"email": "email", "test_clock": "test_clock"},
    "customer_balance_transaction": {"customer": "customer", "invoice": "invoice"},
    "discount": {"customer": "customer", "subscription": "subscription"},
    "dispute": {"charge": "charge", "payment_intent": "payment_intent"},
    "entitlements.active_entitlement": {"customer": "_customer", "feature": "feature"},
    "entitlements.feature": {"lookup_key": "lookup_key"},
    "event": {"type": "type", "object": "data.object.id"},
    "file": {"purpose": "purpose"},
    "invoice": {
        "customer": "customer",
        "status": "status",
        "subscription": "parent.subscription_details.subscription",
        "hosted": "_hosted",
        "collection_method": "collection_method",
    },
    "invoice_payment": {
        "invoice": "invoice",
        "payment_intent": "payment.payment_intent",
        "status": "status",
    },
    "invoiceitem": {
        "customer": "customer",
        "invoice": "invoice",
        "subscription": "parent.subscription_details.subscription",
        "pending": "_pending",
    },
    "billing.meter": {"event_name": "event_name", "status": "status"},
    "billing.meter_event": {"event_name": "event_name", "identifier": "identifier", "customer": "_customer"},
    "payment_intent": {"customer": "customer"},
    "payment_method": {"customer": "customer", "type": "type"},
    "radar.early_fraud_warning": {"charge": "charge", "payment_intent": "payment_intent"},
    "price": {"product": "product", "lookup_key": "lookup_key", "active": "active", "type": "type"},
    "product_feature": {"product": "_product", "feature": "_feature"},
    "promotion_code": {"code": "_code", "coupon": "promotion.coupon", "customer": "customer", "active": "active"},
    "refund": {"charge": "charge", "payment_intent": "payment_intent"},
    "setup_attempt": {"setup_intent": "setup_intent"},
    "setup_intent": {"customer": "customer", "payment_method": "payment_method"},
    "subscription": {
        "customer": "customer",
        "item": "items.data.id",
        "price": "items.data.price",
        "schedule": "schedule",
        "status": "status",
    },
    "subscription_schedule": {"customer": "customer", "subscription": "subscription"},
    "tax_id": {"customer": "customer"},
    "test_helpers.test_clock": {"status": "status"},
    "webhook_endpoint": {"status": "status"},
}

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, created INTEGER NOT NULL,
    body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (kind, seq);
CREATE TABLE IF NOT EXISTS refs (
    kind TEXT NOT NULL, field TEXT NOT NULL, value TEXT NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (kind, field, value, seq, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refs_by_id ON refs (id);
CREATE TABLE IF NOT EXISTS tasks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, due_at REAL NOT NULL, clock TEXT NOT NULL, name TEXT NOT NULL,
    object_id TEXT NOT NULL, UNIQUE (name, object_id));
CREATE INDEX IF NOT EXISTS tasks_by_time ON tasks (clock, due_at, seq);
CREATE TABLE IF NOT EXISTS deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, event_id TEXT NOT NULL, endpoint_id TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL, next_at REAL, created REAL NOT NULL);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, next_at);
CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (event_id);
CREATE TABLE IF NOT EXISTS attempts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, delivery_id TEXT NOT NULL, at REAL NOT NULL, status INTEGER, seconds REAL,
    headers TEXT NOT NULL, body TEXT NOT NULL, response TEXT, error TEXT);
CREATE INDEX IF NOT EXISTS attempts_by_delivery ON attempts (delivery_id);
CREATE TABLE IF NOT EXISTS idempotency (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, path TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL,
    request_id TEXT NOT NULL, created REAL NOT NULL);
CREATE INDEX IF NOT EXISTS idempotency_by_age ON idempotency (created);
CREATE TABLE IF NOT EXISTS requests (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, at REAL NOT NULL, method TEXT NOT NULL,
    path TEXT NOT NULL, params TEXT NOT NULL, status INTEGER NOT NULL, response TEXT NOT NULL, idempotency_key TEXT,
    seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
VERSION = 1  # To be raised with every change of the tables.
TABLES = ("objects", "refs", "tasks", "deliveries", "attempts", "idempotency", "requests", "settings")


class OutdatedDatabase(Exception):
    """The file's tables are not those of this version."""


class Store:
    """The database of one sandbox; `path` is a file, or ":memory:" for a world that ends with the process."""

    def __init__(self, path: str = ":memory:") -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")  # A commit survives kill -9; a power cut keeps the file whole.
        self._check_version()
        self._db.executescript(SCHEMA)

    def _check_version(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):  # 0 is a file that is new.
            raise OutdatedDatabase(f"{self.path} was made by another version of the sandbox: empty it with `reset`")
        self._db.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the store alone; commit at the end, undo everything when an exception leaves the block.

        Blocks may be nested within one thread: the outermost one commits.
        """
        with self._lock:
            outermost = self._depth == 0
            if outermost:
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                if outermost:
                    self._db.execute("ROLLBACK")
                raise
            else:
                if outermost:
                    self._db.execute("COMMIT")
            finally:
                self._depth -= 1

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Undo, at the end of the block, everything that happened in it: how previews find out what would happen."""
        with self.transaction():
            self._db.execute("SAVEPOINT rehearsal")
            try:
                yield
            finally:
                self._db.execute("ROLLBACK TO rehearsal")
                self._db.execute("RELEASE rehearsal")

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        with self._lock:
            return self._db.execute(sql, values)

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        with self._lock:
            found: sqlite3.Row | None = self._db.execute(sql, values).fetchone()
            return found

    def clear(self) -> None:
        """Forget everything: a new world in the same file."""
        with self.transaction():
            for table in TABLES:
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - from TABLES

    def snapshot(self) -> bytes:
        """Return everything that is kept, as one piece; `restore` puts it back."""
        with self._lock:
            return self._db.serialize()

    def restore(self, image: bytes) -> None:
        """Forget what is kept, and keep what a snapshot of this version kept."""
        with closing(sqlite3.connect(":memory:")) as kept, self._lock:
            kept.deserialize(image)
            kept.backup(self._db)

    # Documents ----------------------------------------------------------------------------------------------------

    def load(self, object_id: str) -> str | None:
        """Return a document's JSON text, or None."""
        row = self.row("SELECT body FROM objects WHERE id = ?", object_id)
        return None if row is None else str(row["body"])

    def save(self, document: Document, body: str | None = None) -> None:
        """Insert or replace a document (`body` is its JSON, if known) and the references that lists filter by."""
        kind, object_id = document["object"], document["id"]
        body = body or json.dumps(document, separators=(",", ":"))
        with self._lock:
            row = self._db.execute("SELECT seq FROM objects WHERE id = ?", (object_id,)).fetchone()
            if row is None:
                cursor = self._db.execute(
                    "INSERT INTO objects (id, kind, created, body) VALUES (?, ?, ?, ?)",
                    (object_id, kind, int(document.get("created") or 0), body),
                )
                seq = cursor.lastrowid
            else:
                seq = row["seq"]
                self._db.execute("UPDATE objects SET body = ? WHERE seq = ?", (body, seq))
            wanted = _references(document)
            stored = set() if row is None else self._stored_references(object_id)
            for field, value in stored - wanted:
                self._db.execute("DELETE FROM refs WHERE id = ? AND field = ? AND value = ?", (object_id, field, value))
            self._db.executemany(
                "INSERT OR IGNORE INTO refs (kind, field, value, id, seq) VALUES (?, ?, ?, ?, ?)",
                [(kind, field, value, object_id, seq) for field, value in wanted - stored],
            )

    def _stored_references(self, object_id: str) -> set[tuple[str, str]]:
        found = self._db.execute("SELECT field, value FROM refs WHERE id = ?", (object_id,)).fetchall()
        return {(row["field"], row["value"]) for row in found}

    def delete(self, object_id: str) -> None:
        with self._lock:
            self._db.execute("DELETE FROM objects WHERE id = ?", (object_id,))
            self._db.execute("DELETE FROM refs WHERE id = ?", (object_id,))

    def position(self, object_id: str) -> int | None:
        """Return where an object stands in the order of creation, or None when it does not exist."""
        row = self.row("SELECT seq FROM objects WHERE id = ?", object_id)
        return None if row is None else int(row["seq"])

    def select(
        self,
        kind: str,
        where: dict[str, Any] | None = None,
        *,
        created: dict[str, int] | None = None,
        after: int | None = None,
        before: int | None = None,
        ascending: bool = False,
    ) -> Iterator[str]:
        """Yield the JSON text of the documents of a kind, newest first, that match every indexed field in `where`.

        A value may be a list, of which any will do. `after` and `before` are positions in the order of creation.
        """
        sql: list[str] = ["SELECT o.seq, o.body FROM objects o WHERE o.kind = ?"]
        values: list[Any] = [kind]
        for field, wanted in (where or {}).items():
            options = [_text(value) for value in (wanted if isinstance(wanted, list) else [wanted])]
            marks = ",".join("?" * len(options))
            match = f"SELECT seq FROM refs WHERE kind = ? AND field = ? AND value IN ({marks})"  # noqa: S608 - marks only
            sql.append(f"AND o.seq IN ({match})")
            values += [kind, field, *options]
        for operator, bound in (created or {}).items():
            sql.append(f"AND o.created {_OPERATORS[operator]} ?")
            values.append(bound)
        text = " ".join(sql)
        low, high = after, before
        while True:
            page, bounds = text, list(values)
            if low is not None:
                page, bounds = page + " AND o.seq > ?", [*bounds, low]
            if high is not None:
                page, bounds = page + " AND o.seq < ?", [*bounds, high]
            rows = self.rows(page + f" ORDER BY o.seq {'ASC' if ascending else 'DESC'} LIMIT 128", *bounds)
            for row in rows:
                yield row["body"]
            if len(rows) < 128:
                return
            if ascending:
                low = rows[-1]["seq"]
            else:
                high = rows[-1]["seq"]

    def count(self, kind: str) -> int:
        row = self.row("SELECT count(*) AS n FROM objects WHERE kind = ?", kind)
        return 0 if row is None else int(row["n"])

    # Settings -----------------------------------------------------------------------------------------------------

    def setting(self, name: str, default: Any = None) -> Any:
        row = self.row("SELECT value FROM settings WHERE name = ?", name)
        return default if row is None else json.loads(row["value"])

    def set_setting(self, name: str, value: Any) -> None:
        self.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", name, json.dumps(value))


_OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def _references(document: Document) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for name, path in INDEXES.get(document["object"], {}).items():
        for value in _values(document, path.split(".")):
            if value is not None:
                found.add((name, _text(value)))
    return found


def _values(value: Any, path: list[str]) -> Iterator[Any]:
    for position, part in enumerate(path):
        if isinstance(value, list):
            for item in value:
                yield from _values(item, path[position:])
            return
        if not isinstance(value, dict):
            return
        value = value.get(part)
    yield value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
