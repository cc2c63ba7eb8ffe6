"""Buy a pack by itself when credits run low: what was agreed to, when it is called for, and when it stops.

A spend only marks the account, in its own transaction. The worker decides by the balance of that later moment, under
the account's lock, so that parallel spends, killed workers and repeated marks lead to one purchase. It never goes on
beyond what was agreed: another price, a missing card, a bank that asks, or a second decline switches it off. While
spending is paused, for a dispute say, it waits: nobody could use what it buys, and the card may not be its owner's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from sqlalchemy import Integer, Table, bindparam, exists, func, or_, select, update
from sqlalchemy.orm import Session

import clock
import failpoints
import prepared
from accounts import people
from accounts.models import Account
from billing import catalog, errors, freezes, money, saved_cards, top_ups
from billing.periods import add_months
from billing.purchase_tables import AutoTopUp, TopUp
from billing.saved_cards import Card
from ledger import statement
from ledger.models import Freeze
from ledger.spending import Spent
from mail import links, outbox
from mail.preparing import NotNeeded, Prepared, prepares

MOST_DECLINES = 2
# After a decline: sooner, the bank would say the same again.
TRY_AGAIN_AFTER = timedelta(days=1)
# After an attempt that was given up without an answer from the bank.
TRY_LATER = timedelta(hours=1)

STOPPED = {
    "declined": "Your bank declined the charge twice.",
    "challenged": "Your bank wants you to confirm payments in person, which cannot be done while you are away.",
    "no_card": "There is no saved card any more, or it has expired.",
    "price_changed": "The price of the pack has changed since you agreed.",
    "off_sale": "The pack is not sold any more.",
}

_RULES = cast(Table, AutoTopUp.__table__)


class Agreement(NamedTuple):
    """What an account agreed to, as it stands now; AutoTopUp says what is what."""

    account_id: int
    is_on: bool
    price_key: str
    amount_cents: int
    currency: str
    threshold_credits: int
    monthly_cap_cents: int
    consent: str
    agreed_at: datetime
    declines: int
    not_before: datetime | None
    stop_reason: str | None


# Every billing page asks.
_OF_ACCOUNT = prepared.Reading(
    select(*[_RULES.c[field] for field in Agreement._fields]).where(_RULES.c.account_id == bindparam("owner_id")),
    Agreement,
)
# Part of every spend, most of which are of accounts that agreed to nothing: composed once.
_MARK = prepared.Prepared(
    update(_RULES)
    .where(
        _RULES.c.account_id == bindparam("owner"),
        _RULES.c.is_on,
        _RULES.c.threshold_credits > bindparam("left", type_=Integer),
    )
    .values(wanted_at=func.coalesce(_RULES.c.wanted_at, bindparam("now", type_=_RULES.c.wanted_at.type)))
)


def find(session: Session, account_id: int) -> Agreement | None:
    """Find what an account agreed to, whether it is on or off; None when it never did."""
    return _OF_ACCOUNT.first(session, owner_id=account_id)


def consent_words(pack: catalog.Pack, card: Card, *, threshold: int, monthly_cap_cents: int, seller: str) -> str:
    """Return the sentence that is agreed to, with every amount in it."""
    price, currency = pack.price.amount_cents, pack.price.currency
    return (
        f"Whenever my balance falls below {threshold:,} credit{'' if threshold == 1 else 's'}, {seller} may charge "
        f"{money.in_words(price, currency)} to my saved card, at present {saved_cards.in_words(card)}, and give me "
        f"{pack.credits:,} credits for it: at most {money.in_words(monthly_cap_cents, currency)} in a calendar month, "
        "until I switch this off."
    )


def agree(session: Session, account_id: int, *, user_id: int, price_key: str, terms: Mapping[str, Any]) -> AutoTopUp:
    """Switch it on for what was agreed to: `amount_cents`, `threshold`, `monthly_cap_cents`, `card`, `consent`.

    Raises OfferChanged when the amount or the card are others by now than in the words that were agreed to.
    """
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    pack, card = top_ups.pack_on_sale(price_key), saved_cards.find(session, account_id)
    shown = (terms["amount_cents"], terms["card"])
    if card is None or shown != (pack.price.amount_cents, card.stripe_payment_method_id):
        raise errors.OfferChanged(price_key)
    row = session.get(AutoTopUp, account_id, with_for_update=True) or AutoTopUp(account_id=account_id)
    row.is_on, row.price_key = True, price_key
    row.amount_cents, row.currency = pack.price.amount_cents, pack.price.currency
    row.threshold_credits, row.monthly_cap_cents = terms["threshold"], terms["monthly_cap_cents"]
    row.consent, row.agreed_at, row.agreed_by = terms["consent"], clock.now(), user_id
    row.declines, row.wanted_at, row.not_before = 0, None, None
    row.stopped_at, row.stop_reason = None, None
    session.add(row)
    session.flush()
    failpoints.hit("consent.stored")
    return row


def switch_off(session: Session, account_id: int) -> bool:
    """Switch it off at once; return whether it was on. A charge that is under way is not taken back."""
    off = update(AutoTopUp).where(AutoTopUp.account_id == account_id, AutoTopUp.is_on)
    done = session.execute(off.values(is_on=False, wanted_at=None, not_before=None).returning(AutoTopUp.account_id))
    return done.scalar_one_or_none() is not None


def after_spend(session: Session, account_id: int, spent: Spent) -> None:
    """Mark, in the transaction of a spend, that the balance is below what the account agreed to keep.

    The row is written even when it is marked already: so the spend takes its turn with a worker that is just looking
    at the balance, and none of them misses the other.
    """
    _MARK.change(session.connection(), {"owner": account_id, "left": spent.balance, "now": clock.now()})


def find_wanted(session: Session) -> int | None:
    """Return the account that has waited longest for a purchase that may be made now; None when there is none."""
    under_way = exists().where(TopUp.account_id == AutoTopUp.account_id, TopUp.kind == "auto", TopUp.status == "asking")
    paused = exists().where(Freeze.account_id == AutoTopUp.account_id)
    wanted = select(AutoTopUp.account_id).where(
        AutoTopUp.is_on,
        AutoTopUp.wanted_at.is_not(None),
        or_(AutoTopUp.not_before.is_(None), AutoTopUp.not_before <= clock.now()),
        ~under_way,
        ~paused,
    )
    return session.scalar(wanted.order_by(AutoTopUp.wanted_at).limit(1))


def take_up(session: Session, account_id: int) -> TopUp | None:
    """Write down the purchase that an account's balance calls for; None when it needs, or may have, none now."""
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    row = session.get(AutoTopUp, account_id, with_for_update=True, populate_existing=True)
    if row is None or not row.is_on or row.wanted_at is None or _under_way(session, account_id):
        return None
    if freezes.causes(session, account_id):
        return None  # the mark stays: it is looked at again when spending goes on
    if statement.balance(session, account_id).total >= row.threshold_credits:
        row.wanted_at, row.not_before = None, None
        return None
    card = saved_cards.find(session, account_id)
    obstacle = _obstacle(row, card)
    if card is None or obstacle is not None:
        _stop(session, row, obstacle or "no_card")
        return None
    if spent_this_month(session, account_id) + row.amount_cents > row.monthly_cap_cents:
        row.not_before = _next_month()
        _tell(session, row, "auto_top_up_capped", f"{clock.now():%Y-%m}")
        return None
    row.wanted_at, row.not_before = None, None
    return top_ups.write_down(session, account_id, top_ups.pack_on_sale(row.price_key), card, kind="auto")


def after_settled(session: Session, top_up: TopUp) -> None:
    """Draw the consequences of how a purchase ended: tell, try again later, or stop."""
    row = session.get(AutoTopUp, top_up.account_id, with_for_update=True, populate_existing=True)
    if top_up.kind != "auto" or row is None:
        return
    if top_up.status == "paid":
        row.declines = 0
        _tell(session, row, "auto_top_up_bought", top_up.public_id, top_up=top_up.public_id)
    elif not row.is_on:
        return
    elif top_up.status == "challenged":
        _stop(session, row, "challenged")
    elif top_up.status == "failed":
        row.wanted_at, row.not_before = clock.now(), clock.now() + TRY_LATER
    else:
        row.declines += 1
        row.wanted_at, row.not_before = clock.now(), clock.now() + TRY_AGAIN_AFTER
        if row.declines >= MOST_DECLINES:
            _stop(session, row, "declined")


def spent_this_month(session: Session, account_id: int) -> int:
    """Return the cents that it has charged, or is charging, in this calendar month (UTC)."""
    charged = select(func.coalesce(func.sum(TopUp.amount_cents), 0)).where(
        TopUp.account_id == account_id,
        TopUp.kind == "auto",
        TopUp.status.in_(("asking", "paid")),
        TopUp.created_at >= _this_month(),
    )
    return int(session.scalar(charged) or 0)


def history(session: Session, account_id: int, *, limit: int = 20) -> list[TopUp]:
    """List what it has bought or tried to buy, the latest first."""
    made = select(TopUp).where(TopUp.account_id == account_id, TopUp.kind == "auto")
    return list(session.scalars(made.order_by(TopUp.id.desc()).limit(limit)))


def _obstacle(row: AutoTopUp, card: Card | None) -> str | None:
    on_sale = {pack.price.key: pack for pack in catalog.current().packs_for_sale}
    if row.price_key not in on_sale:
        return "off_sale"
    price = on_sale[row.price_key].price
    if (price.amount_cents, price.currency) != (row.amount_cents, row.currency):
        return "price_changed"
    return None if card else "no_card"


def _under_way(session: Session, account_id: int) -> bool:
    query = select(TopUp.id).where(TopUp.account_id == account_id, TopUp.kind == "auto", TopUp.status == "asking")
    return session.scalar(query) is not None


def _stop(session: Session, row: AutoTopUp, reason: str) -> None:
    now = clock.now()
    row.is_on, row.wanted_at, row.not_before = False, None, None
    row.stopped_at, row.stop_reason = now, reason
    _tell(session, row, "auto_top_up_stopped", f"{int(now.timestamp())}", reason=reason)


def _this_month() -> datetime:
    return clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month() -> datetime:
    return add_months(_this_month(), 1)


# Its mails ---------------------------------------------------------------------------------------------------------


def _tell(session: Session, row: AutoTopUp, template: str, once: str, **facts: str) -> None:
    try:
        email = people.owner_email(session, row.account_id)
    except people.AccountNotFound:
        return
    outbox.queue(
        session,
        template,
        to=email,
        context={"account_id": row.account_id, **facts},
        dedupe_key=f"{template}:{row.account_id}:{once}",
        account_id=row.account_id,
    )


@prepares("auto_top_up_bought")
def prepare_bought(session: Session, mail: Prepared) -> Prepared:
    """Say what was bought, with which card, and how much of the month's cap is used."""
    row, top_up = _row_of(session, mail), top_ups.find(session, mail.context["account_id"], mail.context["top_up"])
    if top_up is None:
        raise NotNeeded("the purchase is unknown")
    facts = {
        "name": top_up.name,
        "amount": money.in_words(top_up.amount_cents, top_up.currency),
        "card": top_up.card,
        "balance": statement.balance(session, row.account_id).total,
    }
    return _with_facts(session, mail, row, facts)


@prepares("auto_top_up_stopped")
def prepare_stopped(session: Session, mail: Prepared) -> Prepared:
    """Say why it stopped and how to go on; raise NotNeeded when it was switched on again meanwhile."""
    row = _row_of(session, mail)
    if row.is_on:
        raise NotNeeded("it is on again")
    return _with_facts(session, mail, row, {"why": STOPPED[mail.context["reason"]]})


@prepares("auto_top_up_capped")
def prepare_capped(session: Session, mail: Prepared) -> Prepared:
    """Say that the month's cap is reached; raise NotNeeded when there are enough credits, or it is off."""
    row = _row_of(session, mail)
    if not row.is_on or statement.balance(session, row.account_id).total >= row.threshold_credits:
        raise NotNeeded("there are enough credits again, or it is off")
    return _with_facts(session, mail, row, {"goes_on_at": _next_month()})


def _row_of(session: Session, mail: Prepared) -> Agreement:
    row = find(session, mail.context["account_id"])
    if row is None:
        raise NotNeeded("nothing was agreed to")
    return row


def _with_facts(session: Session, mail: Prepared, row: Agreement, facts: Mapping[str, Any]) -> Prepared:
    always = {
        "threshold": row.threshold_credits,
        "cap": money.in_words(row.monthly_cap_cents, row.currency),
        "used": money.in_words(spent_this_month(session, row.account_id), row.currency),
        "page_url": links.to("billing.auto_top_up"),
        "pricing_url": links.to("pricing.index"),
    }
    return Prepared(mail.template, mail.to, {**mail.context, **always, **facts})
