"""Look at the patient: are the books sound, is everything paid also granted, does Stripe know us as we know it?

Each check returns findings: one sentence on what is wrong and one on what to do. No finding means healthy. The checks
are in billing/doctor_books.py and billing/doctor_stripe.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.orm import Session

import database
from billing import doctor_books, doctor_stripe, errors, price_moves, usage_checks
from billing.doctor_words import Check, Finding

__all__ = ["CHECKS", "Check", "Finding", "examine"]

# Some of its questions read whole tables, which pages may never do.
PATIENCE_MS = 300_000

CHECKS = (
    *doctor_books.CHECKS,
    *usage_checks.CHECKS,
    Check("who was told of a new price pays it", price_moves.unfinished),
    *doctor_stripe.CHECKS,
    *usage_checks.AT_STRIPE,
)


def examine(session: Session, *, offline: bool = False) -> Iterator[tuple[Check, list[Finding]]]:
    """Run every check, those of the database first, and yield what each found; changes nothing."""
    for check in CHECKS:
        if offline and check.asks_stripe:
            continue
        database.end_reads()
        if session.get_bind().dialect.name == "postgresql":
            session.execute(text(f"SET LOCAL statement_timeout = {PATIENCE_MS}"))
        try:
            found = [Finding(check.name, *told, check.invariants) for told in check.find(session)]
        except errors.StripeError as error:
            found = [_unanswered(check, error)]
        yield check, found


def _unanswered(check: Check, error: errors.StripeError) -> Finding:
    words = f"Stripe did not answer: {error}"
    return Finding(check.name, words, "See the check of the key; try again.", check.invariants, is_answered=False)
