"""Named places at which a proof ends the process as kill -9 does, to see that nothing is lost by it.

`FAILPOINT=ingest.stored` ends it at the first time that it gets there, `FAILPOINT=ingest.stored:2` at the second. A
point says in its name what has just happened. proofs/crash_points.py goes through all of them.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable

STATUS = 137  # what a shell reports of a process that was killed with -9
SPEC = re.compile(r"([a-z_]+(?:\.[a-z_]+)+)(?::([1-9][0-9]{0,5}))?")

SYNCED = (
    "checkout_session",
    "subscription",
    "invoice",
    "charge",
    "payment_intent",
    "customer",
    "fraud_warning",
    "collection",
    "entitlements",
    "extra_subscription",
)
STEPS = ("claimed", "fetched", "applied", "stamped", "committed")
PUSHED = ("product", "feature", "include", "price", "portal")

# One line for each flow, in its order. "committed" stands after the commit, everything else of a transaction before.
POINTS = frozenset(
    f"""
    database.committing database.committed stripe.asking stripe.answered
    signup.stored signup.promised signup.committed signup.resent
    verify.user_stored verify.account_stored verify.confirmed verify.committed session.committed
    reset.promised reset.password_set reset.committed password.set password.committed
    address.asked address.ask_committed address.changed address.promised address.change_committed
    address.claimed address.told address.committed person.deleted person.committed
    customer.described customer.made customer.committed
    checkout.expired checkout.unblocked checkout.intent_stored checkout.intent_committed
    checkout.session_made checkout.session_saved checkout.committed checkout.abandoned
    returned.session_synced returned.synced
    ingest.verified ingest.stored ingest.marked ingest.committed
    {" ".join(f"sync.{step}.{kind}" for kind in SYNCED for step in STEPS)}
    sync.failed sync.put_back
    grant.pack grant.payment grant.period grant.period_noted
    charge.copied charge.clawed charge.frozen
    subscription.copied subscription.trial_remembered subscription.chosen subscription.noticed
    change.quoted change.schedule_released change.made change.schedule_made change.phases_told change.confirmed
    change.withdrawn change.undone price_move.stored price_move.announced price_move.made
    cancel.schedule_released cancel.asked cancel.now_asked resume.asked
    pause.noted pause.asked pause.ended pause.forgotten collect.paid card.copied
    topup.stored topup.committed topup.charged topup.bound topup.settled topup.claimed topup.taken_up topup.given_up
    extra.ended extra.paid_back
    usage.period_opened usage.recorded usage.warned usage.refused usage.cap_set
    usage.summed usage.formed usage.carried usage.redated usage.lost usage.taken usage.told usage.stamped
    usage.item_added usage.folded usage.swept
    link.made link.kept link.taken link.given
    consent.stored refund.decided refund.claimed refund.made refund.committed fraud.copied fraud.followed
    spend.recorded spend.drawn spend.posted report.charged report.kept report.committed
    hold.recorded hold.posted hold.stored settle.ended settle.posted
    clawback.changed clawback.posted freeze.stored freeze.applied expiry.taken expiry.posted
    allowance.granted allowance.committed
    outbox.queued outbox.claimed outbox.rendered outbox.sent outbox.noted outbox.committed outbox.postponed
    poll.positioned poll.listed poll.stored poll.moved
    compare.listed compare.marked compare.committed
    catalog.compared {" ".join(f"catalog.applied.{kind}" for kind in PUSHED)} catalog.price_replaced
    """.split()
)

_listener: Callable[[str], object] | None = None


class UnknownPoint(ValueError):
    """No point has this name."""


def hit(name: str, kind: str = "") -> None:
    """Say that the work has come to a point; `kind` is the last part of its name where a flow has several kinds.

    When nobody listens, which is always so outside of proofs, this costs some tens of nanoseconds.
    """
    if _listener is not None:
        _notify(f"{name}.{kind}" if kind else name)


def arm(spec: str) -> None:
    """End the process at a point, `name` or `name:2` for its second hit; an empty one ends nothing.

    Raises UnknownPoint for a name that no point has, and for what is no such text at all.
    """
    if not spec:
        listen(None)
        return
    name, attempt = parse(spec)
    hits = itertools.count(1)
    listen(lambda point: die(name) if point == name and next(hits) == attempt else None)


def listen(listener: Callable[[str], object] | None) -> None:
    """Call a function with the name of each point that is hit from now on; None stops that."""
    global _listener  # noqa: PLW0603 - it belongs to the process, which it may end
    _listener = listener


def parse(spec: str) -> tuple[str, int]:
    """Return the name and the number of the hit that a FAILPOINT setting means; raise UnknownPoint."""
    found = SPEC.fullmatch(spec)
    if found is None or found[1] not in POINTS:
        raise UnknownPoint(f"{spec!r} names no point: see failpoints.py")
    return found[1], int(found[2] or 1)


def is_spec(text: str) -> bool:
    """Tell whether a FAILPOINT setting can be used; an empty one can."""
    try:
        return not text or bool(parse(text))
    except UnknownPoint:
        return False


def die(name: str) -> None:
    """End the process here and now: nothing is flushed, closed or rolled back."""
    os.write(2, f"ended at the failpoint {name}\n".encode())
    os._exit(STATUS)


def _notify(name: str) -> None:
    if name not in POINTS:
        raise UnknownPoint(f"{name!r} names no point: add it to failpoints.py")
    if _listener is not None:
        _listener(name)
