"""Tell Stripe of usage exactly once, whatever is killed, repeated or late.

Records are added up into reports, one meter event each. A report is written down before it is sent, and sent again
under the same identifier until it is stamped; Stripe refuses an identifier it has seen, but only for a day. So every
report has a minute to itself: after a day Stripe is asked what it counted in that minute.

A period's usage is billed by the invoice that Stripe drafts when it ends and closes an hour later. What arrives in that
hour still counts; what is later than that would be counted by no invoice, so it is dated anew, into the running period.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts import people
from accounts.models import Account
from billing import catalog, errors, metered_items, stripe_usage, usage, usage_standing
from billing.usage_models import MeteredItem, UsageRecord, UsageReport

log = structlog.get_logger(__name__)

MINUTE = timedelta(minutes=1)
# Stripe keeps a renewal's draft open for about an hour (https://docs.stripe.com/billing/subscriptions/usage-based/configure-grace-period).
DRAFT_OPEN = timedelta(minutes=50)
# Stripe knows an identifier again for at least 24 hours.
REMEMBERED = timedelta(hours=23)
# Stripe takes nothing older than 35 days.
OLDEST = timedelta(days=34)
LEASE = timedelta(seconds=30)
LONGEST_WAIT = timedelta(minutes=15)


@dataclass(frozen=True)
class Sending:
    """One report on its way: what is sent, and whether Stripe has to be asked first if it has it already."""

    report_id: int
    account_id: int
    event_name: str
    customer_id: str
    identifier: str
    quantity: int
    at: datetime
    minutes: tuple[int, ...]
    must_ask: bool
    attempt: int


@dataclass(frozen=True)
class Difference:
    """What Stripe counted of an account's usage, and what was reported, between two minutes."""

    account_id: int
    meter: str
    starts_at: datetime
    ends_at: datetime
    reported: int
    counted: int


def flush_due(limit: int = 100) -> int:
    """Report what is complete to the minute, and what waits to be sent again; return how many reports arrived."""
    for account_id, meter in database.write(_unreported, limit):
        database.write(_form, account_id, meter, until=_minute_start(clock.now()))
        failpoints.hit("usage.formed")
    return sum(_send(report_id) for report_id in database.write(_due, limit))


def flush_account(account_id: int) -> None:
    """Report everything that an account used until now, because an invoice is about to be made.

    Raises errors.StripeError when Stripe does not take it: then nothing should be invoiced yet.
    """
    for meter in catalog.current().meters:
        database.write(_form, account_id, meter.key, until=clock.now() + timedelta(seconds=1))
    for report_id in database.write(_waiting_of, account_id):
        _send(report_id, is_urgent=True)


def differences(session: Session, account_id: int, meter: str) -> list[Difference]:
    """Compare what was reported in the running period with what Stripe counted; empty where both are the same.

    Stripe adds up with some delay, so the last ten minutes are left out. Asks Stripe: call it outside of transactions.
    """
    item = metered_items.find(session, account_id, meter)
    customer_id = session.scalar(select(Account.stripe_customer_id).where(Account.id == account_id))
    if item is None or item.starts_at is None or customer_id is None:
        return []
    starts_at = _minute_start(max(item.starts_at, clock.now() - OLDEST))
    ends_at = _minute_start(clock.now() - 10 * MINUTE)
    if ends_at <= starts_at:
        return []
    query = select(func.coalesce(func.sum(UsageReport.quantity), 0)).where(
        UsageReport.account_id == account_id,
        UsageReport.meter == meter,
        UsageReport.flushed_at.is_not(None),
        UsageReport.at >= starts_at,
        UsageReport.at < ends_at,
    )
    reported = int(session.scalar(query) or 0)
    counted = stripe_usage.usage_between(
        _event_name(meter), customer_id, int(starts_at.timestamp()), int(ends_at.timestamp())
    )
    if reported == counted:
        return []
    return [Difference(account_id, meter, starts_at, ends_at, reported, counted)]


def billed_accounts(session: Session) -> list[tuple[int, str]]:
    """List whom Stripe bills by use now, and by which meter: who is worth comparing."""
    query = select(MeteredItem.account_id, MeteredItem.meter).where(
        MeteredItem.ended_at.is_(None), MeteredItem.stripe_item_id.is_not(None)
    )
    return [(row.account_id, row.meter) for row in session.execute(query.distinct())]


def mismatches(session: Session) -> Iterator[str]:
    """Yield every report that is not the sum of its records, as a sentence."""
    query = (
        select(UsageReport.id, UsageReport.quantity, func.coalesce(func.sum(UsageRecord.quantity), 0).label("sum"))
        .outerjoin(UsageRecord, UsageRecord.report_id == UsageReport.id)
        .group_by(UsageReport.id, UsageReport.quantity)
        .having(func.coalesce(func.sum(UsageRecord.quantity), 0) != UsageReport.quantity)
    )
    for row in session.execute(query):
        yield f"usage report {row.id} says {row.quantity}, and its records come to {row.sum}"


def stuck(session: Session, *, since: datetime) -> list[UsageReport]:
    """List the reports that have waited since before an instant."""
    waiting = select(UsageReport).where(
        UsageReport.flushed_at.is_(None), UsageReport.lost_at.is_(None), UsageReport.at < since
    )
    return list(session.scalars(waiting.order_by(UsageReport.id).limit(100)))


def lost(session: Session, *, since: datetime) -> list[UsageReport]:
    """List the reports that nothing will bill, since an instant."""
    return list(session.scalars(select(UsageReport).where(UsageReport.lost_at >= since).order_by(UsageReport.id)))


# Adding up -----------------------------------------------------------------------------------------------------------


def _unreported(session: Session, limit: int) -> list[tuple[int, str]]:
    query = select(UsageRecord.account_id, UsageRecord.meter).where(
        UsageRecord.report_id.is_(None), UsageRecord.is_billed, UsageRecord.at < _minute_start(clock.now())
    )
    return [(row.account_id, row.meter) for row in session.execute(query.distinct().limit(limit))]


def _form(session: Session, account_id: int, meter: str, *, until: datetime) -> None:
    """Add an account's records up into reports: one for each side of the present period's beginning."""
    people.lock_account(session, account_id)
    item = metered_items.find(session, account_id, meter)
    begins_at = usage_standing.period_of(item, clock.now())[0] if item else None
    spans = [(None, until)] if begins_at is None or begins_at >= until else [(None, begins_at), (begins_at, until)]
    for since, before in spans:
        _form_span(session, account_id, meter, since=since, before=before)


def _form_span(session: Session, account_id: int, meter: str, *, since: datetime | None, before: datetime) -> None:
    mine = [
        UsageRecord.account_id == account_id,
        UsageRecord.meter == meter,
        UsageRecord.report_id.is_(None),
        UsageRecord.is_billed,
        UsageRecord.at < before,
    ]
    if since is not None:
        mine.append(UsageRecord.at >= since)
    total, last = session.execute(select(func.sum(UsageRecord.quantity), func.max(UsageRecord.at)).where(*mine)).one()
    if not total:
        return
    at = _free_moment(session, account_id, meter, last)
    if at > clock.now():
        return  # its minute has a report already; it waits for the next one
    report = UsageReport(
        account_id=account_id, meter=meter, quantity=total, at=at, minute=_minute(at), next_at=clock.now()
    )
    session.add(report)
    session.flush()
    failpoints.hit("usage.summed")
    session.execute(update(UsageRecord).where(*mine).values(report_id=report.id))


def _free_moment(session: Session, account_id: int, meter: str, at: datetime) -> datetime:
    """Return an instant, or the first minute after it, in whose minute the account has no report of the meter yet."""
    at = at.replace(microsecond=0)
    later = UsageReport.minute >= _minute(at)
    formerly = UsageReport.former_minute >= _minute(at)
    rows = session.execute(
        select(UsageReport.minute, UsageReport.former_minute).where(
            UsageReport.account_id == account_id, UsageReport.meter == meter, later | formerly
        )
    )
    taken = {minute for row in rows for minute in row}
    while _minute(at) in taken:
        at = _minute_start(at) + MINUTE
    return at


# Sending -------------------------------------------------------------------------------------------------------------


def _due(session: Session, limit: int) -> list[int]:
    # What a meter counted that the catalogue has no more waits, for the doctor to see, and holds up nobody.
    meters = [meter.key for meter in catalog.current().meters]
    query = select(UsageReport.id).where(
        UsageReport.flushed_at.is_(None),
        UsageReport.lost_at.is_(None),
        UsageReport.next_at <= clock.now(),
        UsageReport.meter.in_(meters),
    )
    return list(session.scalars(query.order_by(UsageReport.next_at).limit(limit)))


def _waiting_of(session: Session, account_id: int) -> list[int]:
    query = select(UsageReport.id).where(
        UsageReport.account_id == account_id, UsageReport.flushed_at.is_(None), UsageReport.lost_at.is_(None)
    )
    return list(session.scalars(query.order_by(UsageReport.id)))


def _send(report_id: int, *, is_urgent: bool = False) -> bool:
    """Bring one report to Stripe; return whether it is there now."""
    sending = database.write(_prepare, report_id, is_urgent=is_urgent)
    if sending is None:
        return False
    failpoints.hit("usage.taken")
    try:
        arrived_at = _arrived(sending) if sending.must_ask else None
        if arrived_at is None:
            if sending.must_ask:
                database.write(_remember_sending, sending)
            _tell(sending)
            failpoints.hit("usage.told")
    except errors.BillingError as error:
        log.warning("usage not reported", report=report_id, error=str(error))
        database.write(_put_back, sending, f"{type(error).__name__}: {error}")
        if is_urgent:
            raise
        return False
    database.write(_stamp, sending, arrived_at)
    failpoints.hit("usage.stamped")
    return True


def _tell(sending: Sending) -> None:
    try:
        stripe_usage.report_usage(
            {
                "event_name": sending.event_name,
                "identifier": sending.identifier,
                "payload": {"stripe_customer_id": sending.customer_id, "value": str(sending.quantity)},
                "timestamp": int(sending.at.timestamp()),
            }
        )
    except errors.StripeRefused as refused:
        if not stripe_usage.is_seen_before(refused):
            raise


def _arrived(sending: Sending) -> int | None:
    """Return the minute in which Stripe has counted a report that may have been sent more than a day ago, or None."""
    for minute in sending.minutes:
        start = minute * 60
        if stripe_usage.usage_between(sending.event_name, sending.customer_id, start, start + 60) == sending.quantity:
            return minute
    return None


def _prepare(session: Session, report_id: int, *, is_urgent: bool) -> Sending | None:
    """Take a report for sending: settle its date, and write down that it may reach Stripe from now on."""
    report = session.get(UsageReport, report_id)
    if report is None:
        return None
    people.lock_account(session, report.account_id)
    session.refresh(report, with_for_update=True)
    is_due = is_urgent or report.next_at <= clock.now()
    if report.flushed_at is not None or report.lost_at is not None or not is_due:
        return None
    if not _date(session, report):
        return None
    now = clock.now()
    must_ask = report.sent_at is not None and report.sent_at <= now - REMEMBERED
    if report.sent_at is None:
        report.sent_at = now
    report.attempts += 1
    report.next_at = now + LEASE
    customer_id = session.scalar(select(Account.stripe_customer_id).where(Account.id == report.account_id))
    session.flush()
    return Sending(
        report_id=report.id,
        account_id=report.account_id,
        event_name=_event_name(report.meter),
        customer_id=str(customer_id),
        identifier=report.identifier,
        quantity=report.quantity,
        at=report.at,
        minutes=(report.minute,) if report.former_minute is None else (report.minute, report.former_minute),
        must_ask=must_ask,
        attempt=report.attempts,
    )


def _date(session: Session, report: UsageReport) -> bool:
    """Date a report anew when its period's invoice is closed; return False when no invoice will ever count it.

    It is dated anew once at most: Stripe knows it by its identifier under either date.
    """
    now = clock.now()
    item = metered_items.find(session, report.account_id, report.meter)
    if item is None:
        over = metered_items.last_ended(session, report.account_id, report.meter)
        if report.sent_at is None and (over is None or over.ended_at is None or now > over.ended_at + DRAFT_OPEN):
            report.lost_at, report.last_error = now, "the subscription's last invoice is closed"
            return False
        return True
    if report.former_at is not None or _is_open(item, report.at, now):
        return True
    if not usage.carry_over(session, report.account_id, report.meter, report.quantity):
        report.lost_at, report.last_error = now, "the customer's cap has no room for it"
        failpoints.hit("usage.lost")
        return False
    at = _free_moment(session, report.account_id, report.meter, now)
    if report.sent_at is not None:
        report.former_at, report.former_minute = report.at, report.minute
    report.at, report.minute = at, _minute(at)
    session.flush()
    failpoints.hit("usage.redated")
    return True


def _is_open(item: MeteredItem, at: datetime, now: datetime) -> bool:
    """Tell whether the invoice that bills an instant is still to be closed."""
    begins_at = usage_standing.period_of(item, now)[0]
    if at >= begins_at:
        return True
    before = item.renewed_from if begins_at == item.starts_at else item.starts_at
    return before is not None and at >= before and now <= begins_at + DRAFT_OPEN


def _remember_sending(session: Session, sending: Sending) -> None:
    """Begin another day in which Stripe knows the identifier again."""
    report = session.get_one(UsageReport, sending.report_id)
    if report.attempts == sending.attempt:
        report.sent_at = clock.now()


def _stamp(session: Session, sending: Sending, arrived_minute: int | None) -> None:
    report = session.get_one(UsageReport, sending.report_id, with_for_update=True)
    report.flushed_at, report.last_error = report.flushed_at or clock.now(), None
    if arrived_minute is not None and arrived_minute == report.former_minute and report.former_at is not None:
        report.at, report.minute, report.former_at, report.former_minute = report.former_at, arrived_minute, None, None


def _put_back(session: Session, sending: Sending, error: str) -> None:
    report = session.get_one(UsageReport, sending.report_id, with_for_update=True)
    if report.flushed_at is None and report.attempts == sending.attempt:
        wait = min(timedelta(seconds=2 ** min(report.attempts, 10)), LONGEST_WAIT)
        report.next_at, report.last_error = clock.now() + wait, error[:2000]


def _event_name(meter: str) -> str:
    found = next((known.event_name for known in catalog.current().meters if known.key == meter), None)
    if found is None:
        raise catalog.UnknownOffer(meter)
    return found


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // 60


def _minute_start(at: datetime) -> datetime:
    return datetime.fromtimestamp(_minute(at) * 60, UTC)
