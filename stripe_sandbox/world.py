"""One transaction's view of the sandbox: get and change objects, emit events, schedule what happens later.

Every request handler, engine function, page and due task works on a `World`. It hands out each document once, so two
functions that get the same object change the same dict; `save` writes it and tells the world about it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, events, ids
from stripe_sandbox.objects import rendering
from stripe_sandbox.store import Document

if TYPE_CHECKING:
    from stripe_sandbox.sandbox import Sandbox


class World:
    """The state of the sandbox within one transaction.

    `now` is the time in whole seconds: the sandbox's, or a test clock's once `follow_clock_of` has seen a customer
    that is bound to one. `request` is what events say about their cause: `{"id": ..., "idempotency_key": ...}`.
    """

    def __init__(self, sandbox: Sandbox, *, now: float, request: dict[str, Any] | None = None) -> None:
        self.sandbox = sandbox
        self.store = sandbox.store
        self.now = int(now)
        self.request = request or {"id": None, "idempotency_key": None}
        self.rehearsing = False
        self._documents: dict[str, Document] = {}
        self._originals: dict[str, str] = {}

    # Reading ------------------------------------------------------------------------------------------------------

    def find(self, kind: str, object_id: Any) -> Document | None:
        """Return an object of a kind by id, or None."""
        if not isinstance(object_id, str):
            return None
        if object_id not in self._documents:
            text = self.store.load(object_id)
            if text is None:
                return None
            self._adopt(text)
        document = self._documents[object_id]
        return document if document["object"] == kind and not document.get("_deleted") else None

    def get(self, kind: str, object_id: str, *, param: str | None = None) -> Document:
        """Return an object or raise Stripe's "No such ..."; `param` names the parameter that held the id."""
        document = self.find(kind, object_id)
        if document is None:
            raise errors.no_such(kind, object_id, param=param)
        return document

    def find_any(self, object_id: str) -> Document | None:
        """Return an object of whatever kind by id, or None."""
        if object_id not in self._documents:
            text = self.store.load(object_id)
            if text is None:
                return None
            self._adopt(text)
        return self._documents[object_id]

    def select(self, kind: str, where: dict[str, Any] | None = None, **bounds: Any) -> Iterator[Document]:
        """Yield the objects of a kind, newest first; see `Store.select`."""
        for text in self.store.select(kind, where, **bounds):
            document = json.loads(text)
            if document["id"] not in self._documents:
                self._adopt(text)
            document = self._documents[document["id"]]
            if not document.get("_deleted"):
                yield document

    def first(self, kind: str, where: dict[str, Any]) -> Document | None:
        return next(self.select(kind, where), None)

    def _adopt(self, text: str) -> None:
        document = json.loads(text)
        self._documents[document["id"]] = document
        self._originals[document["id"]] = text

    # Changing -----------------------------------------------------------------------------------------------------

    def add(self, document: Document, event: str | None = None) -> Document:
        """Keep a new object and emit an event about it."""
        if self.find_any(document["id"]) is not None:
            raise errors.already_exists(document["object"], document["id"])
        self._documents[document["id"]] = document
        self._write(document)
        if event:
            self.emit(event, document)
        return document

    def save(self, document: Document, event: str | None = None, *, previous: bool = True) -> Document:
        """Write a changed object; when anything public changed, emit `event` with its `previous_attributes`."""
        before = json.loads(self._originals[document["id"]])
        changed = self._write(document)
        if event and changed:
            was = rendering.previous_attributes(self, before, document) if previous else None
            if was or not previous:
                self.emit(event, document, was)
        return document

    def _write(self, document: Document) -> bool:
        text = json.dumps(document, separators=(",", ":"))
        if self._originals.get(document["id"]) == text:
            return False
        self.store.save(document, text)
        self._originals[document["id"]] = text
        return True

    def delete(self, document: Document, event: str | None = None) -> Document:
        """Remove an object, and return the stub that the API answers with."""
        if event:
            self.emit(event, document)
        document["_deleted"] = True
        self.store.delete(document["id"])
        self._originals.pop(document["id"], None)
        if document["object"] == "customer":  # Of all objects only customers are still shown, as deleted.
            self.store.set_setting(f"deleted:{document['id']}", True)
        return {"id": document["id"], "object": document["object"], "deleted": True}

    def emit(self, type: str, document: Document, previous: dict[str, Any] | None = None) -> Document:  # noqa: A002
        """Record an event with a snapshot of an object, and queue it for the endpoints that want it."""
        if self.rehearsing:
            return {}
        event = self.sandbox.record_event(self, type, rendering.render(self, document), previous)
        for listener in events.LISTENERS.get(type, []):
            listener(self, document)
        return event

    @contextmanager
    def rehearsal(self, *, now: float | None = None) -> Iterator[World]:
        """Give a world in which things can be tried: no event is sent, and nothing of it stays."""
        with self.store.rehearsal():
            trial = World(self.sandbox, now=self.now if now is None else now, request=self.request)
            trial.rehearsing = True
            yield trial

    # Time ---------------------------------------------------------------------------------------------------------

    def follow_clock_of(self, customer: Document | None) -> None:
        """Let `now` be the test clock's time when a customer is bound to one."""
        clock = self.find("test_helpers.test_clock", (customer or {}).get("test_clock"))
        if clock is not None:
            self.now = int(clock["frozen_time"])

    def schedule(self, name: str, document: Document, at: float, *, clock: str | None = None) -> None:
        """Have the task `name` run for an object at a time; replaces an earlier appointment of the same name."""
        clock = clock if clock is not None else (document.get("test_clock") or "")
        self.store.execute(
            "INSERT INTO tasks (due_at, clock, name, object_id) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (name, object_id) DO UPDATE SET due_at = excluded.due_at, clock = excluded.clock",
            at,
            clock,
            name,
            document["id"],
        )

    def unschedule(self, name: str, document: Document) -> None:
        self.store.execute("DELETE FROM tasks WHERE name = ? AND object_id = ?", name, document["id"])

    # Making -------------------------------------------------------------------------------------------------------

    def new_id(self, kind: str) -> str:
        return ids.new(kind)

    def render(self, document: Document, expand: list[str] | None = None) -> Document:
        """Return an object as the API shows it, with the `expand` paths filled in."""
        return rendering.render(self, document, rendering.tree(expand or []))


Handler = Callable[..., Document]
