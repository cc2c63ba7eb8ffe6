"""Compare Stripe with our books, page by page, once a day: what webhooks and the poller could both have missed.

Stripe is listed first - customers, subscriptions, paid invoices, charges, refunds, disputes, checkouts -, then our own
rows are gone through for what Stripe did not show. A difference is logged, counted and marked dirty, so that it is
mended by the same path as everything else. The cursor moves after each page: a run goes on where its worker stopped,
and two workers at once waste a request and nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts.models import Account
from billing import access, differences, errors, gateway, poller, stripe_lists, sync_queue
from billing.differences import Difference
from billing.models import CheckoutIntent, Cursor, Payment, PlanGrant, StripeObject, Subscription, SyncTask
from extensions import db

Json = dict[str, Any]
log = structlog.get_logger(__name__)

CURSOR = "compare"
EVERY = timedelta(days=1)
PAGE = 100
RECENT = timedelta(days=35)  # longer than a month: each period of each subscription is looked at once at least
MONEY_BACK = timedelta(days=120)  # as long as most banks take disputes


@dataclass(frozen=True)
class Place:
    """Where a run is: when it began, in which part, and after which object."""

    began_at: int
    part: str
    after: str | None

    @property
    def mark(self) -> str:
        return f"{self.part}:{self.after or ''}"


@dataclass(frozen=True)
class Part:
    """One list to go through; `kind` is what its objects are called here when each is one of ours."""

    name: str
    page: Callable[[Place], list[Json]]
    find: Callable[[Session, Sequence[Json]], Iterator[Difference]]
    kind: str | None = None


def step() -> int:
    """Compare the next page when a comparison is due or under way; return how many pages that were (0 or 1).

    Raises errors.StripeError; then the same page comes again.
    """
    place = database.write(_place)
    if place is None:
        return 0
    _compare(place)
    return 1


def run_whole(on_difference: Callable[[Difference], object]) -> int:
    """Compare everything now, whenever it was done last; return how many differences there were."""
    count = 0
    place: Place | None = database.write(_begin)
    while place is not None:
        found = _compare(place)
        count += len(found)
        for difference in found:
            on_difference(difference)
        place = database.write(_place)
    return count


def _compare(place: Place) -> list[Difference]:
    part = next(p for p in PARTS if p.name == place.part)
    page = part.page(place)
    failpoints.hit("compare.listed")
    found = list(_found(part, page))
    if found:
        # What changed a moment ago may still be under way: take it in first, so that only what was missed is left.
        poller.poll()
        found = [difference for difference in _found(part, page) if _is_confirmed(difference, page)]
    database.write(_take_in, place, part, page, found)
    failpoints.hit("compare.committed")
    for difference in found:
        log.error("differs from Stripe", kind=difference.kind, object_id=difference.object_id, words=difference.words)
    return found


def _found(part: Part, page: list[Json]) -> list[Difference]:
    """Return what differs and is not being worked on already."""
    session = db.session()
    found = {(d.kind, d.object_id): d for d in part.find(session, page)}
    query = select(SyncTask.kind, SyncTask.object_id).where(
        SyncTask.object_id.in_([object_id for _, object_id in found]), SyncTask.clean < SyncTask.dirty
    )
    under_way = {tuple(row) for row in session.execute(query)}
    return [difference for key, difference in found.items() if key not in under_way]


def _is_confirmed(difference: Difference, page: list[Json]) -> bool:
    """Ask whether a charge that is recorded nowhere is one of ours: others may charge the same customers by hand."""
    charge = next((c for c in page if c.get("id") == difference.object_id and c.get("object") == "charge"), None)
    if charge is None or difference.words != "is recorded nowhere":
        return True
    intent = charge.get("payment_intent")
    return intent is not None and (
        differences.is_ours(db.session(), intent)
        or gateway.find_invoice_of_payment(intent) is not None
        or gateway.find_checkout_session(intent) is not None
    )


def _take_in(session: Session, place: Place, part: Part, page: list[Json], found: list[Difference]) -> None:
    """Mark what differs, stamp what was met, and move on - unless another worker has done so meanwhile."""
    for difference in found:
        if difference.kind == "customer":
            _adopt(session, page, difference.object_id)
        if difference.is_mendable:
            sync_queue.mark_dirty(session, difference.kind, difference.object_id)
    if part.kind is not None:
        met = update(StripeObject).where(
            StripeObject.kind == part.kind, StripeObject.stripe_id.in_([thing["id"] for thing in page])
        )
        session.execute(met.values(compared_at=clock.now()))
    failpoints.hit("compare.marked")
    names = [p.name for p in PARTS]
    is_last_page = len(page) < PAGE
    following = names[names.index(place.part) + 1 :] if is_last_page else [place.part]
    mark = f"{following[0]}:{'' if is_last_page else page[-1]['id']}" if following else None
    session.execute(
        update(Cursor)
        .where(Cursor.name == CURSOR, Cursor.position == place.began_at, Cursor.last_id == place.mark)
        .values(last_id=mark, moved_at=clock.now())
    )


def _adopt(session: Session, page: list[Json], customer_id: str) -> None:
    """Give an account the customer that was made for it; only its own number names it, never an address.

    What was fetched of the customer while nobody here owned it had no effect: all of it is looked at again.
    """
    public_id = next(c["metadata"]["account"] for c in page if c["id"] == customer_id)
    session.execute(
        update(Account)
        .where(Account.public_id == public_id, Account.stripe_customer_id.is_(None))
        .values(stripe_customer_id=customer_id)
    )
    fetched = select(StripeObject.kind, StripeObject.stripe_id).where(StripeObject.stripe_customer_id == customer_id)
    for kind, stripe_id in session.execute(fetched).all():
        sync_queue.mark_dirty(session, kind, stripe_id)


def _place(session: Session) -> Place | None:
    """Return where to go on; begin anew when the last run began a day ago; None when there is nothing to do."""
    row = session.scalar(select(Cursor).where(Cursor.name == CURSOR).with_for_update())
    if row is None or (row.last_id is None and clock.now() - datetime.fromtimestamp(row.position, UTC) >= EVERY):
        return _begin(session)
    if row.last_id is None:
        return None
    part, _, after = row.last_id.partition(":")
    return Place(row.position, part, after or None)


def _begin(session: Session) -> Place:
    place = Place(int(clock.now().timestamp()), PARTS[0].name, None)
    values = {"position": place.began_at, "moved_at": clock.now(), "last_id": place.mark}
    insert = database.insert(session, Cursor).values(name=CURSOR, **values)
    session.execute(insert.on_conflict_do_update(index_elements=["name"], set_=values))
    return place


# Stripe's side ------------------------------------------------------------------------------------------------------


def _listed(what: str, *, since: timedelta | None = None, **params: Any) -> Callable[[Place], list[Json]]:
    def page(place: Place) -> list[Json]:
        wanted = dict(params, limit=PAGE)
        if since is not None:
            wanted["created"] = {"gte": place.began_at - int(since.total_seconds())}
        try:
            return stripe_lists.list_page(what, wanted, after=place.after)
        except errors.StripeObjectMissing:
            return stripe_lists.list_page(what, wanted)  # the object that the last page ended with is gone: begin again

    return page


# Our side: what Stripe's lists did not show is asked for by itself ---------------------------------------------------


def _own_subscriptions(place: Place) -> list[Json]:
    live = select(Subscription.stripe_id).where(Subscription.stripe_status.in_(access.LIVE))
    return _rows(live, Subscription.stripe_id, place)


def _own_payments(place: Place) -> list[Json]:
    since = datetime.fromtimestamp(place.began_at, UTC) - RECENT + timedelta(days=1)
    recent = select(Payment.stripe_charge_id).where(Payment.paid_at > since)
    return _rows(recent, Payment.stripe_charge_id, place)


def _own_checkouts(place: Place) -> list[Json]:
    late = select(CheckoutIntent.stripe_session_id).where(
        CheckoutIntent.status == "open",
        CheckoutIntent.stripe_session_id.is_not(None),
        CheckoutIntent.expires_at < clock.now() - timedelta(hours=1),
    )
    return _rows(late, CheckoutIntent.stripe_session_id, place)


def _own_plan_grants(place: Place) -> list[Json]:
    return _rows(differences.without_end(), PlanGrant.stripe_invoice_id, place)


def _rows(query: Any, column: Any, place: Place) -> list[Json]:
    found = db.session.scalars(query.where(column > (place.after or "")).order_by(column).limit(PAGE)).all()
    return [{"id": stripe_id, "began_at": place.began_at} for stripe_id in found]


def _not_met(kind: str) -> Callable[[Session, Sequence[Json]], Iterator[Difference]]:
    """Return a search for those of our rows that this run did not meet at Stripe and that Stripe does not know."""

    def find(session: Session, page: Sequence[Json]) -> Iterator[Difference]:
        if not page:
            return
        began_at = datetime.fromtimestamp(page[0]["began_at"], UTC)
        query = select(StripeObject.stripe_id).where(
            StripeObject.kind == kind,
            StripeObject.stripe_id.in_([row["id"] for row in page]),
            or_(StripeObject.compared_at >= began_at, StripeObject.fetched_at >= began_at),
        )
        met = set(session.scalars(query))
        for row in page:
            if row["id"] not in met and not stripe_lists.knows(f"{kind}s", row["id"]):
                words = "is not known to Stripe: another account or mode, or a restored backup of one"
                yield Difference(kind, row["id"], words)

    return find


PARTS = (
    Part("customers", _listed("customers", since=RECENT), differences.in_customers),
    Part("subscriptions", _listed("subscriptions", status="all"), differences.in_subscriptions, "subscription"),
    Part("invoices", _listed("invoices", since=RECENT, status="paid"), differences.in_invoices, "invoice"),
    Part("charges", _listed("charges", since=RECENT), differences.in_charges, "charge"),
    Part("refunds", _listed("refunds", since=MONEY_BACK), differences.in_refunds),
    Part("disputes", _listed("disputes", since=MONEY_BACK), differences.in_disputes),
    Part(
        "checkouts",
        _listed("checkout_sessions", since=RECENT),
        differences.in_checkout_sessions,
        "checkout_session",
    ),
    Part("own subscriptions", _own_subscriptions, _not_met("subscription")),
    Part("own payments", _own_payments, _not_met("charge")),
    Part("own plan grants", _own_plan_grants, differences.in_plan_grants),
    Part("own checkouts", _own_checkouts, _not_met("checkout_session")),
)
