"""R2, the harness's own validity: webhook handlers as they are often written must all be caught.

    python -m proofs.faulty_handlers --database sqlite

Each fault below replaces one decision of the app by a usual wrong one. The same histories are told to the app with
the fault (proofs/rehearsal.py: duplicates, twins, shuffled delivery, slow answers, killed workers, failing API) and to
the app as it is. Oracle: Stripe's objects (proofs/stripe_oracle.py). Passes when every fault makes at least one history
end wrongly, and none does without a fault: a proof that passes with a fault in is itself the failure.
"""

from __future__ import annotations

import json
import secrets
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

import database
from billing import fulfilment, inbox, returned, subscriptions, sync, sync_queue
from billing.models import StripeEvent, StripeObject, SyncTask
from blueprints import webhooks
from extensions import db
from ledger import clawback, granting
from proofs.registry import Outcome, main, proof
from proofs.rehearsal import Rehearsal
from proofs.shop import Shop, open_shop

Json = dict[str, Any]
Fault = Callable[[], Iterator[None]]
FAULTS: dict[str, Fault] = {}
MOST_HISTORIES = 8
STEPS = 60
PEOPLE = 5


def fault(words: str) -> Callable[[Fault], Fault]:
    """Name a fault by what the handler does wrong."""

    def keep(function: Fault) -> Fault:
        FAULTS[words] = function
        return function

    return keep


@contextmanager
def _instead(module: Any, name: str, replacement: Any) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, replacement)
    try:
        yield
    finally:
        setattr(module, name, original)


# What is done with a delivery -----------------------------------------------------------------------------------------


@fault("grants at every delivery, without looking whether it was seen before")
def no_dedupe() -> Iterator[None]:
    original = inbox.receive

    def receive(session: Session, event: Json, *, source: str, livemode: bool) -> bool:
        is_new = original(session, event, source=source, livemode=livemode)
        _grant_at_once(session, event, secrets.token_hex(8))
        return is_new

    yield from _while(webhooks, "_store", _storing_by(receive))


@fault("increments once per event id, though one change may come as two events")
def increment_per_event() -> Iterator[None]:
    original = inbox.receive

    def receive(session: Session, event: Json, *, source: str, livemode: bool) -> bool:
        is_new = original(session, event, source=source, livemode=livemode)
        _grant_at_once(session, event, event["id"])
        return is_new

    def no_grants(*_: Any) -> None:
        return None

    with _instead(fulfilment, "fulfil_session", no_grants):
        yield from _while(webhooks, "_store", _storing_by(receive))


def _storing_by(receive: Callable[..., bool]) -> Callable[..., None]:
    """Return how a webhook is usually stored: in a transaction of its own, with what else the handler does."""

    def store(event: Json, _text: str, *, livemode: bool) -> None:
        database.write(receive, event, source="webhook", livemode=livemode)

    return store


def _grant_at_once(session: Session, event: Json, key: str) -> None:
    thing = event["data"]["object"]
    if event["type"] != "checkout.session.completed" or thing["mode"] != "payment":
        return
    account_id = sync._lock_account(session, thing["customer"])
    if account_id is not None:
        credits = thing["amount_total"] // 100
        granting.grant(session, account_id, credits, kind="purchase", source=f"event:{key}")


@fault("answers 200 before the event is stored")
def answers_first() -> Iterator[None]:
    seen: set[str] = set()

    def receive(session: Session, event: Json, *, source: str, livemode: bool) -> bool:
        # The database takes every third event only at the second attempt; a right handler makes Stripe come again.
        if zlib.crc32(event["id"].encode()) % 3 == 0 and event["id"] not in seen:
            seen.add(event["id"])
            raise OSError("the database is away")
        return inbox.receive(session, event, source=source, livemode=livemode)

    def careless(event: Json, text: str, *, livemode: bool) -> None:
        with suppress(OSError):
            _storing_by(receive)(event, text, livemode=livemode)

    yield from _while(webhooks, "_store", careless)


@fault("takes two changes of one object for the same news")
def dedupes_by_object() -> Iterator[None]:
    original = sync_queue.mark_dirty
    known: set[tuple[str, str]] = set()

    def mark_dirty(session: Session, kind: str, object_id: str) -> None:
        if (kind, object_id) in known:
            return
        known.add((kind, object_id))
        original(session, kind, object_id)

    with _instead(webhooks, "_store", _storing_by(inbox.receive)):
        yield from _while(inbox.sync_queue, "mark_dirty", mark_dirty)


@fault("drops events that are not newer than the last one seen of the object")
def drops_by_created() -> Iterator[None]:
    original = inbox.receive
    latest: dict[str, int] = {}

    def receive(session: Session, event: Json, *, source: str, livemode: bool) -> bool:
        key = str(event["data"]["object"].get("id"))
        if event["created"] <= latest.get(key, 0):
            return False
        latest[key] = event["created"]
        return original(session, event, source=source, livemode=livemode)

    with _instead(webhooks, "_store", _storing_by(receive)):
        yield from _while(inbox, "receive", receive)


# How an object is brought in line -------------------------------------------------------------------------------------


@fault("marks the work as done before it is done")
def mark_first() -> Iterator[None]:
    original = sync_queue._claim

    def claim(session: Session, task: SyncTask, now: datetime) -> sync_queue.Claim:
        claimed = original(session, task, now)
        task.clean = task.dirty
        session.flush()
        return claimed

    yield from _while(sync_queue, "_claim", claim)


@fault("believes the payload of the event that came last")
def payload_state() -> Iterator[None]:
    original = sync.KINDS["subscription"]

    def fetch(object_id: str, quick: bool) -> Json:
        with Session(db.engine) as session:
            query = select(StripeEvent.payload).where(StripeEvent.object_id == object_id)
            query = query.order_by(StripeEvent.received_at.desc(), func.length(StripeEvent.payload)).limit(1)
            payload = session.scalar(query)
        return json.loads(payload)["data"]["object"] if payload else original.fetch(object_id, quick)

    with _kind("subscription", fetch=fetch):
        yield


@fault("lets the last writer win, whenever it read")
def no_fence() -> Iterator[None]:
    def is_newest(session: Session, claim: sync_queue.Claim, fetched: Json) -> bool:
        session.execute(
            update(StripeObject)
            .where(StripeObject.kind == claim.kind, StripeObject.stripe_id == claim.object_id)
            .values(applied_fence=0)
        )
        original(session, claim, fetched)
        return True

    original = sync._is_newest
    yield from _while(sync, "_is_newest", is_newest)


@fault("takes its ticket after the fetch instead of before it")
def late_fence() -> Iterator[None]:
    original = sync._is_newest

    def is_newest(session: Session, claim: sync_queue.Claim, fetched: Json) -> bool:
        task = session.get_one(SyncTask, (claim.kind, claim.object_id))
        task.fence += 1
        session.flush()
        late = sync_queue.Claim(claim.kind, claim.object_id, claim.dirty, task.fence, claim.attempts)
        return original(session, late, fetched)

    yield from _while(sync, "_is_newest", is_newest)


@fault("takes news that came during the fetch for seen")
def loses_wakeups() -> Iterator[None]:
    original = sync_queue.complete

    def complete(session: Session, claim: sync_queue.Claim) -> None:
        dirty = session.scalar(
            select(SyncTask.dirty).where(SyncTask.kind == claim.kind, SyncTask.object_id == claim.object_id)
        )
        original(session, sync_queue.Claim(claim.kind, claim.object_id, dirty or 0, claim.fence, claim.attempts))

    yield from _while(sync_queue, "complete", complete)


@fault("never tries again what failed")
def gives_up() -> Iterator[None]:
    original = sync_queue.fail

    def fail(session: Session, claim: sync_queue.Claim, error: str, **_: float) -> bool:
        original(session, claim, error)
        sync_queue.complete(session, claim)
        return True

    with _instead(sync_queue, "postpone", fail):
        yield from _while(sync_queue, "fail", fail)


@contextmanager
def _kind(name: str, **changes: Any) -> Iterator[None]:
    original = sync.KINDS[name]
    sync.KINDS[name] = sync.Kind(**{"fetch": original.fetch, "apply": original.apply, **changes})
    try:
        yield
    finally:
        sync.KINDS[name] = original


# What is made of it ---------------------------------------------------------------------------------------------------


@fault("subtracts the refund each time it hears of one")
def delta_refunds() -> Iterator[None]:
    original = clawback.claw_to

    def claw_to(session: Session, account_id: int, source: str, credits: int) -> Any:
        grant = granting.get_grant(session, account_id, source)
        return original(session, account_id, source, min(grant.credits, grant.clawed + credits))

    yield from _while(clawback, "claw_to", claw_to)


@fault("takes back and never gives back")
def one_way_refunds() -> Iterator[None]:
    original = clawback.claw_to

    def claw_to(session: Session, account_id: int, source: str, credits: int) -> Any:
        clawed = granting.get_grant(session, account_id, source).clawed
        return original(session, account_id, source, max(clawed, credits))

    yield from _while(clawback, "claw_to", claw_to)


@fault("does not listen to disputes")
def ignores_disputes() -> Iterator[None]:
    yield from _while(returned, "DISPUTED", frozenset())


@fault("lets a charge that was read earlier overwrite a later one")
def unfenced_charges() -> Iterator[None]:
    original = sync._is_newest

    def is_newest(session: Session, claim: sync_queue.Claim, fetched: Json) -> bool:
        return original(session, claim, fetched) or claim.kind == "charge"

    yield from _while(sync, "_is_newest", is_newest)


@fault("grants each invoice what is missing when it is heard of, whichever was paid first")
def grants_as_heard() -> Iterator[None]:
    original = sync.KINDS["invoice"]

    def fetch(object_id: str, quick: bool) -> Json:
        return {**original.fetch(object_id, quick), "earlier": []}

    with _kind("invoice", fetch=fetch):
        yield


@fault("grants for an invoice that is open")
def grants_unpaid() -> Iterator[None]:
    original = fulfilment.fulfil_session

    def fulfil_session(session: Session, account_id: int, checkout_session: Json) -> None:
        credits, _ = fulfilment._packs_in(checkout_session)
        if checkout_session["mode"] == "payment" and checkout_session["status"] != "complete" and credits:
            granting.grant(session, account_id, credits, kind="purchase", source=f"session:{checkout_session['id']}")
        original(session, account_id, checkout_session)

    yield from _while(fulfilment, "fulfil_session", fulfil_session)


@fault("grants a plan for its checkout and again for its invoice")
def grants_twice() -> Iterator[None]:
    original = sync.KINDS["checkout_session"].apply

    def apply(session: Session, account_id: int, fetched: Json, claim: sync_queue.Claim) -> None:
        original(session, account_id, fetched, claim)
        if fetched["mode"] == "subscription" and fetched["status"] == "complete":
            granting.grant(session, account_id, 20, kind="plan", source=f"session:{fetched['id']}")

    with _kind("checkout_session", apply=apply):
        yield


@fault("works out an upgrade's credits from what it read before it locked the account")
def no_account_lock() -> Iterator[None]:
    original_fetch = sync.KINDS["invoice"].fetch
    original = fulfilment._credits_due
    before: dict[str, Session] = {}

    def fetch(object_id: str, quick: bool) -> Json:
        source = f"invoice:{object_id}"
        if source in before:
            before[source].close()  # a file that is open still cannot be put back to its beginning
        before[source] = session = _as_it_is_now()
        try:
            return original_fetch(object_id, quick)
        except BaseException:
            session.close()
            raise

    def credits_due(session: Session, account_id: int, period: Any, *, besides: str) -> int:
        return original(before.get(besides, session), account_id, period, besides=besides)

    with _kind("invoice", fetch=fetch), _instead(fulfilment, "_credits_due", credits_due):
        try:
            yield
        finally:
            for session in before.values():
                session.close()


def _as_it_is_now() -> Session:
    """Return a session that goes on seeing the database as it is at this moment."""
    engine = db.engine
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    session = Session(engine)
    session.execute(select(func.count()).select_from(fulfilment.PlanGrant))
    return session


@fault("takes the subscription's own end for its cancellation, and forgets the flag")
def forgets_cancel_flag() -> Iterator[None]:
    yield from _while(subscriptions, "_cancels_at", lambda stripe_subscription, _: None)


def _while(module: Any, name: str, replacement: Any) -> Iterator[None]:
    with _instead(module, name, replacement):
        yield


# The proof ------------------------------------------------------------------------------------------------------------


def history_of(shop: Shop, seed: int) -> list[str]:
    """Tell one history and return what ended wrongly; a handler that cannot go on is wrong too."""
    shop.reopen(seed)
    try:
        return Rehearsal(shop, api_trouble_percent=3).play(STEPS, people=PEOPLE).problems
    except Exception as error:
        return [f"the handler failed: {type(error).__name__}: {error}"]


def caught_after(shop: Shop, words: str, histories: int) -> int | None:
    """Return after how many histories a fault showed itself, or None when it never did."""
    for seed in range(1, histories + 1):
        with contextmanager(FAULTS[words])():
            if history_of(shop, seed):
                return seed
    return None


def prove(
    engine: str, faults: Sequence[str], histories: int = MOST_HISTORIES
) -> Iterator[tuple[str, int | None, list[str]]]:
    """Yield for each fault after how many histories it was caught; last, what went wrong in those without any."""
    with open_shop(engine) as shop:
        needed = 1
        for words in faults:
            seed = caught_after(shop, words, histories)
            needed = max(needed, seed or histories)
            yield words, seed, []
        yield "none", 0, [problem for seed in range(1, needed + 1) for problem in history_of(shop, seed)]


@proof(
    "R2",
    "faulty handlers that go unnoticed",
    passes="all caught, and nothing found without a fault",
    quick={"histories": 8, "faults": {"sqlite": 4, "postgresql": 2}},
    whole={"histories": 8, "faults": 100},
)
def measure(engine: str, *, seed: int, histories: int, faults: int) -> Outcome:
    """Put one fault after the other into the app; `seed` only names the histories, which are the same for all."""
    chosen = list(FAULTS)[:: max(1, len(FAULTS) // faults)]
    *caught, (_, _, innocent) = prove(engine, chosen, histories)
    missed = [words for words, after, _ in caught if after is None]
    problems = [f"not caught: {words}" for words in missed] + [f"without a fault: {each}" for each in innocent]
    return Outcome(len(caught), problems, f"faults, at most {max(after or 0 for _, after, _ in caught)} histories each")


if __name__ == "__main__":
    sys.exit(main(measure))
