"""Why the balance changed: every movement of one's credits, by month and kind, as a page and as a CSV file."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from flask import Response, abort, render_template, request, url_for

import clock
from accounts.models import ADMIN
from blueprints.billing.base import bp
from extensions import db
from ledger import statement as ledger_statement
from ledger.models import TransactionKind
from ledger.statement import Activity, Filter
from web import filters, gates
from web.current import current_account

PAGE_SIZE = 50
CHART_DAYS = 30
MAX_DIGITS = 18  # what a database takes for an id

# What people filter by: a name in the address, its words, and the kinds of transactions that it stands for.
GROUPS: dict[str, tuple[str, tuple[TransactionKind, ...]]] = {
    "in": ("Credits that came in", (TransactionKind.GRANT,)),
    "used": ("Used", (TransactionKind.SPEND, TransactionKind.CAPTURE)),
    "held": ("Set aside and returned", (TransactionKind.HOLD, TransactionKind.RELEASE)),
    "expired": ("Expired", (TransactionKind.EXPIRE,)),
    "refunds": (
        "Refunds and disputes",
        (TransactionKind.CLAW, TransactionKind.RESTORE, TransactionKind.FREEZE, TransactionKind.UNFREEZE),
    ),
    "adjusted": ("Adjusted by us", (TransactionKind.ADJUST, TransactionKind.FORGIVE)),
}

WORDS: dict[str, tuple[str, str]] = {
    TransactionKind.GRANT: ("Came in", "positive"),
    TransactionKind.SPEND: ("Used", "neutral"),
    TransactionKind.HOLD: ("Set aside", "info"),
    TransactionKind.CAPTURE: ("Used", "neutral"),
    TransactionKind.RELEASE: ("Returned", "info"),
    TransactionKind.CLAW: ("Taken back", "warning"),
    TransactionKind.RESTORE: ("Given back", "positive"),
    TransactionKind.EXPIRE: ("Expired", "neutral"),
    TransactionKind.ADJUST: ("Adjusted", "info"),
    TransactionKind.FORGIVE: ("Debt cancelled", "positive"),
    TransactionKind.FREEZE: ("Paused", "warning"),
    TransactionKind.UNFREEZE: ("Goes on", "positive"),
}


@dataclass(frozen=True)
class Line:
    """One movement in words: what it was, why, and what it did beside changing the balance."""

    at: datetime
    word: str
    tone: str
    reason: str
    credits: int
    balance: int
    note: str


@bp.get("/billing/statement")
@gates.requires(role=ADMIN)
def statement() -> str:
    """Show every movement of the account's credits with the balance it left, newest first."""
    session, account_id = db.session(), current_account().id
    opened_on = ledger_statement.first_day(session, account_id)
    months = months_since(opened_on)
    wanted, month = asked_filter()
    before = asked_end()
    page = ledger_statement.page(session, account_id, wanted, older_than=before, limit=PAGE_SIZE)
    first, last = charted_days(month, opened_on)
    chart = ledger_statement.daily_balance(session, account_id, first, last)
    chosen = {name: request.args[name] for name in ("kind", "month") if request.args.get(name)}
    return render_template(
        "billing/statement.html",
        balance=ledger_statement.balance(session, account_id),
        lines=[in_words(line) for line in page.lines],
        chart=[(filters.short_day(day.day), day.credits) for day in chart],
        groups=[(key, words) for key, (words, _) in GROUPS.items()],
        months=[(f"{m:%Y-%m}", f"{m:%B %Y}") for m in months],
        chosen=chosen,
        older_url=url_for("billing.statement", before=page.older_than, **chosen) if page.older_than else None,
        newer_url=url_for("billing.statement", **chosen) if before else None,
        csv_url=url_for("billing.statement_csv", **chosen),
    )


@bp.get("/billing/statement.csv")
@gates.requires(role=ADMIN)
def statement_csv() -> Response:
    """Return the same movements as a CSV file, oldest first; no cell of it runs as a formula."""
    account_id = current_account().id
    wanted, month = asked_filter()
    text = io.StringIO()
    csv.writer(text).writerows(ledger_statement.csv_rows(db.session(), account_id, wanted))
    name = f"credits-{month:%Y-%m}.csv" if month else "credits.csv"
    return Response(
        text.getvalue(),
        mimetype="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def asked_end() -> int | None:
    """Return the line before which a page starts; None for the newest page, and for what no page of ours links to."""
    given = request.args.get("before", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) <= MAX_DIGITS else None


def asked_filter() -> tuple[Filter, date | None]:
    """Return what the address asks for: which movements, and the first day of the month they are of."""
    kind, month = request.args.get("kind", ""), request.args.get("month", "")
    if kind and kind not in GROUPS:
        abort(404, "There is no such kind of movement. Choose one from the list.")
    kinds = GROUPS[kind][1] if kind else ()
    if not month:
        return Filter(kinds=kinds), None
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        abort(404, "There is no such month. Choose one from the list.")
    return Filter(kinds, since=first, until=_next_month(first)), first.date()


def months_since(first: date | None) -> list[date]:
    """Return the first days of the months from a day to the present one, newest first; none for no day."""
    months: list[date] = []
    month = clock.now().date().replace(day=1)
    while first is not None and month >= first.replace(day=1):
        months.append(month)
        month = (month - timedelta(days=1)).replace(day=1)
    return months


def charted_days(month: date | None, opened_on: date | None) -> tuple[date, date]:
    """Return the first and the last day to draw: of the chosen month, or of the last thirty days since the opening."""
    today = clock.now().date()
    if month is None:
        return max(today - timedelta(days=CHART_DAYS - 1), opened_on or today), today
    last = _next_month(datetime(month.year, month.month, 1, tzinfo=UTC)).date() - timedelta(days=1)
    return month, max(month, min(last, today))


def in_words(line: Activity) -> Line:
    """Say a movement in words; `note` tells what it did to a debt or to credits set aside."""
    word, tone = WORDS.get(line.kind, (line.kind.capitalize(), "neutral"))
    note = ""
    if line.debt > 0:
        note = f"{filters.credits(line.debt)} of these had been spent and {'is' if line.debt == 1 else 'are'} owed"
    elif line.debt < 0 and line.kind != TransactionKind.FORGIVE:
        note = f"{filters.credits(-line.debt)} made up for credits owed"
    elif line.debt < 0:
        note = f"{filters.credits(-line.debt)} no longer owed"
    elif line.kind == TransactionKind.CAPTURE and line.used:
        note = f"{filters.credits(line.used)} of those set aside"
    return Line(line.at, word, tone, line.reason, line.credits, line.balance, note)


def _next_month(first: datetime) -> datetime:
    year, month = divmod(first.year * 12 + first.month, 12)
    return first.replace(year=year, month=month + 1)
