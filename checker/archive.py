"""Reports that were paid for: made with their debit in one transaction, and found again by their account only."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

import failpoints
from checker.models import Report, new_public_id
from checker.report import Report as Findings
from ledger import spending


def keep(
    session: Session,
    account_id: int,
    findings: Findings,
    *,
    user_id: int,
    credits: int,
    idempotency_key: str,
    request_hash: str,
) -> Report:
    """Charge for a report and keep it, both or neither; the same key again returns the first report for nothing.

    Raises NotEnoughCredits, WalletFrozen, and IdempotencyConflict when the key was used for other contents.
    """
    public_id = new_public_id()
    spent = spending.spend(
        session,
        account_id,
        credits,
        idempotency_key=idempotency_key,
        reason=f"CV report, {findings.pages} {'page' if findings.pages == 1 else 'pages'}",
        request_hash=request_hash,
        reference=f"report:{public_id}",
    )
    failpoints.hit("report.charged")
    if spent.is_replay:
        # The debit's lock orders double clicks: whoever comes second finds the row of the first.
        return session.scalars(select(Report).where(Report.transaction_id == spent.transaction_id)).one()
    report = Report(
        public_id=public_id,
        account_id=account_id,
        user_id=user_id,
        transaction_id=spent.transaction_id,
        idempotency_key=idempotency_key,
        title=findings.title,
        score=findings.score,
        pages=findings.pages,
        credits=credits,
        content=findings.to_json(),
    )
    session.add(report)
    session.flush()
    failpoints.hit("report.kept")
    return report


def find(session: Session, account_id: int, public_id: str) -> Report | None:
    """Find a report of this account; those of others are not there for it."""
    return session.scalars(select(Report).where(Report.account_id == account_id, Report.public_id == public_id)).first()


def recent(session: Session, account_id: int, limit: int, *, before_id: int | None = None) -> Sequence[Report]:
    """Return the account's reports, the latest first; `before_id` goes on where a page ended."""
    query = select(Report).where(Report.account_id == account_id).order_by(Report.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(Report.id < before_id)
    return session.scalars(query).all()


def forget(session: Session, account_id: int) -> None:
    """Remove an account's reports for good; what was paid for them stays in the ledger."""
    session.execute(delete(Report).where(Report.account_id == account_id))
