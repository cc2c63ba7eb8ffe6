"""The notice that credits run low: once for each time that the balance falls below the catalogue's threshold."""

from __future__ import annotations

from sqlalchemy.orm import Session

from accounts import people
from billing import catalog
from ledger import statement
from ledger.spending import Spent
from mail import links, outbox
from mail.preparing import NotNeeded, Prepared, prepares


def after_spend(session: Session, account_id: int, spent: Spent) -> None:
    """Promise the notice in the transaction of the spend that falls below the threshold.

    Further spends below it cross nothing; credits that lift the balance above it arm the notice again.
    """
    if not spent.crosses(catalog.current().policies.low_balance_credits):
        return
    try:
        email = people.owner_email(session, account_id)
    except people.AccountNotFound:
        return  # nobody to write to; the spend stands
    outbox.queue(
        session,
        "low_balance",
        to=email,
        context={"account_id": account_id},
        dedupe_key=f"low-balance:{account_id}:{spent.transaction_id}",
        account_id=account_id,
    )


@prepares("low_balance")
def prepare(session: Session, mail: Prepared) -> Prepared:
    """Say how many credits are left and how to get more; raise NotNeeded when there are enough again."""
    threshold = catalog.current().policies.low_balance_credits
    balance = statement.balance(session, mail.context["account_id"])
    if balance.total >= threshold:
        raise NotNeeded(f"there are {balance.total} credits again")
    facts = {
        "balance": balance.total,
        "pricing_url": links.to("pricing.index"),
        "statement_url": links.to("billing.statement"),
    }
    return Prepared(mail.template, mail.to, {**mail.context, **facts})
