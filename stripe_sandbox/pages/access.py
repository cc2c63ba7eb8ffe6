"""How pages reach the sandbox: a transaction for a request, and Stripe's errors as values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import abort, current_app

from stripe_sandbox import errors
from stripe_sandbox.sandbox import Sandbox
from stripe_sandbox.world import World

Document = dict[str, Any]


def sandbox() -> Sandbox:
    """Return the sandbox behind the current page."""
    found: Sandbox = current_app.extensions["sandbox"]
    return found


@contextmanager
def world() -> Iterator[World]:
    """Open a transaction. An error that is raised inside is to be caught inside, or nothing is kept."""
    with sandbox().world() as opened:
        yield opened


def get_or_404(opened: World, kind: str, object_id: str) -> Document:
    """Return an object, or answer the page's request with 404; follows the test clock of its customer."""
    document = opened.find(kind, object_id)
    if document is None:
        abort(404)
    opened.follow_clock_of(opened.find("customer", document.get("customer")))
    return document


class Outcome:
    """What trying something on a page came to: `error` is Stripe's error, or None when it went through."""

    def __init__(self) -> None:
        self.error: errors.StripeError | None = None


def perform(work: Callable[[World], Any]) -> errors.StripeError | None:
    """Run a step in a transaction of its own; returns its refusal, or None when it went through.

    What a refused step has done is undone, save for what a refused card leaves behind.
    """
    kept: errors.StripeError | None = None
    try:
        with world() as opened:
            try:
                work(opened)
            except errors.StripeError as error:
                if not error.keep:
                    raise
                kept = error
    except errors.StripeError as error:
        return error
    return kept


@contextmanager
def attempt() -> Iterator[Outcome]:
    """Run a step whose refusal is shown on the page; what a refused card leaves behind is kept."""
    outcome = Outcome()
    try:
        yield outcome
    except errors.StripeError as error:
        outcome.error = error
