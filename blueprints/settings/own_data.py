"""Everything that is stored about a person and their accounts, as one JSON file to take along.

Each section names its columns, so that a new one - a hash, a token - is not given out before somebody decides it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask_login import current_user
from sqlalchemy import ColumnElement, Engine, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session
from werkzeug.wrappers import Response

import clock
from accounts import deletion
from accounts.api_keys import ApiKey
from accounts.audit import AuditEntry
from accounts.email_changes import EmailChange
from accounts.models import Account, Invitation, Membership, User, UserSession
from billing.models import Invoice, Payment, Subscription
from billing.purchase_tables import AutoTopUp, CreditCodeUse, SavedCard, TopUp
from blueprints.settings.base import bp, person
from checker.models import Report
from extensions import db, limiter
from ledger.models import Transaction
from mail.models import Email
from projects.models import Project
from support.models import SupportRequest
from web import gates

BATCH = 500
Columns = Sequence[InstrumentedAttribute[Any]]


@dataclass(frozen=True)
class Section:
    """One list of the file: which columns of which rows, oldest first."""

    name: str
    columns: Columns
    rows: ColumnElement[bool]
    order: InstrumentedAttribute[Any]


@bp.get("/data.json")
@gates.requires(personal=True, recent=True)
@limiter.limit("3 per minute; 10 per hour", key_func=person)
def download() -> Response:
    """Send the file, made while it is sent, so that a long life needs no more memory than a short one."""
    session, made_at = db.session(), clock.now()
    owned = [account.id for account in deletion.owned(session, current_user.id)]
    chosen = sections(current_user.id, current_user.email, current_user.email_key, owned)
    headers = {"Content-Disposition": f'attachment; filename="my-data-{made_at:%Y-%m-%d}.json"'}
    return Response(lines(db.engine, chosen, made_at), mimetype="application/json", headers=headers)


def sections(user_id: int, email: str, email_key: str, owned: list[int]) -> list[Section]:
    """Return what is told to a person: about themselves, and about the accounts that are billed to them."""
    u, s, i, k, t = User, UserSession, Invitation, ApiKey, Transaction
    p, v, b, o = Payment, Invoice, Subscription, TopUp
    return [
        Section("person", (u.email, u.confirmed_at, u.created_at), u.id == user_id, u.id),
        Section(
            "accounts",
            (Account.public_id, Account.name, Account.stripe_customer_id, Account.created_at),
            Account.id.in_(owned),
            Account.id,
        ),
        Section(
            "memberships",
            (Membership.account_id, Membership.role, Membership.created_at),
            Membership.user_id == user_id,
            Membership.id,
        ),
        Section(
            "sessions",
            (s.created_at, s.last_seen_at, s.expires_at, s.revoked_at, s.is_remembered, s.address, s.user_agent),
            s.user_id == user_id,
            s.id,
        ),
        Section(
            "changes_of_address",
            (EmailChange.email, EmailChange.created_at, EmailChange.confirmed_at, EmailChange.cancelled_at),
            EmailChange.user_id == user_id,
            EmailChange.id,
        ),
        Section(
            "invitations",
            (i.email, i.role, i.created_at, i.expires_at, i.accepted_at, i.withdrawn_at),
            or_(i.email_key == email_key, i.accepted_by == user_id, i.invited_by == user_id),
            i.id,
        ),
        Section(
            "api_keys",
            (k.name, k.prefix, k.created_at, k.last_used_at, k.revoked_at),
            or_(k.account_id.in_(owned), k.created_by == user_id),
            k.id,
        ),
        Section(
            "ledger",
            (t.account_id, t.at, t.kind, t.credits, t.debt, t.balance_after, t.reason, t.reference),
            t.account_id.in_(owned),
            t.id,
        ),
        Section(
            "subscriptions",
            (b.stripe_id, b.stripe_status, b.plan_key, b.amount_cents, b.currency, b.started_at, b.ended_at),
            b.account_id.in_(owned),
            b.started_at,
        ),
        Section(
            "payments",
            (p.stripe_charge_id, p.paid_at, p.description, p.amount_cents, p.currency, p.refunded_cents),
            p.account_id.in_(owned),
            p.id,
        ),
        Section(
            "invoices",
            (v.stripe_id, v.number, v.status, v.description, v.subtotal_cents, v.tax_cents, v.total_cents, v.currency),
            v.account_id.in_(owned),
            v.stripe_id,
        ),
        Section(
            "saved_cards",
            (SavedCard.brand, SavedCard.last4, SavedCard.exp_month, SavedCard.exp_year),
            SavedCard.account_id.in_(owned),
            SavedCard.account_id,
        ),
        Section(
            "purchases_by_one_click",
            (o.created_at, o.kind, o.name, o.credits, o.amount_cents, o.currency, o.card, o.status, o.settled_at),
            o.account_id.in_(owned),
            o.id,
        ),
        Section(
            "agreements",
            (AutoTopUp.consent, AutoTopUp.agreed_at, AutoTopUp.is_on, AutoTopUp.stopped_at),
            AutoTopUp.account_id.in_(owned),
            AutoTopUp.account_id,
        ),
        Section(
            "codes",
            (CreditCodeUse.code, CreditCodeUse.used_at),
            CreditCodeUse.account_id.in_(owned),
            CreditCodeUse.used_at,
        ),
        Section(
            "reports",
            (Report.created_at, Report.title, Report.score, Report.pages, Report.credits, Report.content),
            Report.account_id.in_(owned),
            Report.id,
        ),
        Section("projects", (Project.name, Project.created_at), Project.account_id.in_(owned), Project.id),
        Section(
            "questions",
            (SupportRequest.created_at, SupportRequest.subject, SupportRequest.message, SupportRequest.answered_at),
            SupportRequest.user_id == user_id,
            SupportRequest.id,
        ),
        Section(
            "mails",
            (Email.created_at, Email.template, Email.to_address, Email.status, Email.sent_at),
            Email.to_address == email,
            Email.id,
        ),
        Section(
            "log", (AuditEntry.at, AuditEntry.action, AuditEntry.object_kind), AuditEntry.actor == email, AuditEntry.id
        ),
    ]


def lines(engine: Engine, chosen: Sequence[Section], made_at: datetime) -> Iterator[str]:
    """Yield the file, section by section and row by row; instants are ISO 8601 in UTC, amounts in cents.

    It reads through a session of its own, because the request's has ended when the file is sent.
    """
    yield f'{{"made_at": {json.dumps(made_at.isoformat())}'
    with Session(engine) as session:
        for section in chosen:
            yield f",\n{json.dumps(section.name)}: ["
            yield from _rows(session, section)
            yield "]"
    yield "\n}\n"


def _rows(session: Session, section: Section) -> Iterator[str]:
    query = select(*section.columns).where(section.rows).order_by(section.order)
    names = [column.key for column in section.columns]
    separator = "\n"
    for row in session.execute(query.execution_options(yield_per=BATCH)):
        yield separator + json.dumps(dict(zip(names, row, strict=True)), default=_plain, ensure_ascii=False)
        separator = ",\n"


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
