"""What is sold and for how much: plans side by side, packs below, and what happens to credits afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, render_template, request

from accounts.models import ADMIN
from billing import access, catalog, limits, saved_cards, trials
from billing.access import SubscriptionRow
from billing.catalog import Catalog, Interval, Pack, Plan, Price
from billing.saved_cards import Card
from extensions import db
from web import filters, fragments, gates, redirects
from web.current import acting, find_current_account

bp = Blueprint("pricing", __name__)


@dataclass(frozen=True)
class Visitor:
    """Who looks at the prices: their live subscription, if any, and whether a trial is still open to them.

    `payer` is the address of whoever takes care of the account where that is not the visitor.
    """

    is_signed_in: bool
    subscription: SubscriptionRow | None
    may_try: bool
    # What a pack would be charged to by one click, when a card is saved.
    card: Card | None = None
    payer: str = ""

    @property
    def plan_key(self) -> str | None:
        """The plan to mark as theirs; None for whoever is not signed in."""
        if not self.is_signed_in:
            return None
        return self.subscription.plan_key if self.subscription else catalog.current().free_plan.key


@dataclass(frozen=True)
class PlanCard:
    """One plan as this visitor sees it; `lines` are pairs of a short text and what it means.

    `trial_days` is 0 when the plan has no trial, or the visitor has had theirs.
    """

    plan: Plan
    price: Price | None
    lines: list[tuple[str, str]]
    note: str
    trial_days: int
    is_current: bool


@bp.get("/pricing")
@gates.public
def index() -> str:
    """Show everything that is sold; `?interval=yearly` shows what a year costs where a plan can be paid by the year."""
    visitor, next_page = _visitor(), redirects.asked_next("")
    is_yearly = request.args.get("interval") == "yearly"
    if visitor.card is not None or visitor.payer or next_page:
        return _page(visitor, is_yearly=is_yearly, next_page=next_page)
    return fragments.kept_page(
        lambda: _page(visitor, is_yearly=is_yearly),
        *(is_yearly, visitor.plan_key, visitor.subscription is not None, visitor.may_try),
    )


def _page(visitor: Visitor, *, is_yearly: bool, next_page: str = "") -> str:
    """Return the page; what it takes from the visitor is in the key under which `index` keeps it."""
    current = catalog.current()
    # A retired plan is shown to nobody but those who have it.
    plans = [plan for plan in current.plans if not plan.is_retired or plan.key == visitor.plan_key]
    packs = current.packs_for_sale
    has_yearly = any("year" in plan.intervals for plan in plans)
    interval: Interval = "year" if has_yearly and is_yearly else "month"
    return render_template(
        "pricing/index.html",
        catalog=current,
        visitor=visitor,
        cards=[plan_card(current, plan, interval, visitor) for plan in plans],
        packs=[(pack, pack_note(pack, packs)) for pack in packs],
        interval=interval,
        has_yearly=has_yearly,
        largest_saving=max((yearly_saving(plan) for plan in plans), default=0),
        has_trial=any(plan.trial_days for plan in plans),
        features=[f for f in current.features if any(f.key in plan.features for plan in plans)],
        overages=[price for plan in plans for price in plan.overages],
        saved_card=visitor.card,
        next=next_page,
    )


@bp.get("/pricing/paid")
@gates.public
def paid() -> str:
    """Tell whoever paid through a payment link how the credits come to them; it knows nothing of the payment."""
    return render_template("pricing/paid.html")


def plan_card(current: Catalog, plan: Plan, interval: Interval, visitor: Visitor) -> PlanCard:
    """Return a plan as one visitor sees it, priced by the month or year, or by the other where it has only that."""
    price = plan.price_for(interval) or next(iter(plan.prices), None)
    trial_days = plan.trial_days if visitor.may_try else 0
    return PlanCard(
        plan=plan,
        price=price,
        lines=plan_lines(current, plan),
        note=_note(plan, price, trial_days),
        trial_days=trial_days,
        is_current=plan.key == visitor.plan_key,
    )


def plan_lines(current: Catalog, plan: Plan) -> list[tuple[str, str]]:
    """Say what is in a plan: its credits, its limits, its features; a feature is explained where it first comes."""
    lines = [(f"{filters.credits(plan.credits)} each month", _rollover(plan))] if plan.credits else []
    lines += [
        _limit_line(current, plan, name)
        for name, allowed in plan.limits.items()
        if allowed and limits.opens(plan, name)
    ]
    return lines + [
        (f"{f.name} (planned)" if f.is_planned else f.name, _about(current, plan, f.key))
        for f in current.features
        if f.key in plan.features and f.key not in plan.limits  # its number says it already
    ]


def _about(current: Catalog, plan: Plan, feature: str) -> str:
    """Explain a feature where it first comes."""
    described = next((f.description for f in current.features if f.key == feature), "")
    return described if plan.is_retired or plan == _first_with(current, feature) else ""


def _rollover(plan: Plan) -> str:
    if not plan.rollover_months:
        return ""
    return f"What is left over lasts {plan.rollover_months} month{'' if plan.rollover_months == 1 else 's'} longer"


def _first_with(current: Catalog, feature: str) -> Plan | None:
    return next((plan for plan in current.plans_for_sale if feature in plan.features), None)


def _limit_line(current: Catalog, plan: Plan, name: str) -> tuple[str, str]:
    allowed, words = plan.limits[name], name.replace("_", " ")
    if allowed == -1:
        return f"Unlimited {words}", _about(current, plan, name)
    words = words.removesuffix("s") if allowed == 1 else words
    if name not in {meter.key for meter in current.meters}:
        return f"{filters.number(allowed)} {words}", _about(current, plan, name)
    overage = next((price for price in plan.overages if price.meter == name), None)
    more = ""
    if overage and overage.cents_per_unit:
        more = f"then {filters.money(int(overage.cents_per_unit * 1000), overage.currency)} per 1,000"
    return f"{filters.number(allowed)} {words} a month", more


def yearly_saving(plan: Plan) -> int:
    """Return how many cents a year costs less than twelve months; 0 where there is nothing to compare."""
    monthly, yearly = plan.price_for("month"), plan.price_for("year")
    return max(0, 12 * monthly.amount_cents - yearly.amount_cents) if monthly and yearly else 0


def _note(plan: Plan, price: Price | None, trial_days: int) -> str:
    """Say what the large figure does not: the trial before it, and what paying by the year would change."""
    if price is None:
        return ""
    saving, yearly = yearly_saving(plan), plan.price_for("year")
    notes = [f"The first {trial_days} days are free."] if trial_days else []
    if saving and price.interval == "year":
        notes.append(f"Saves {filters.money(saving, price.currency, trim=True)} a year.")
    elif saving and yearly:
        notes.append(f"Or {filters.money(yearly.amount_cents, price.currency, trim=True)} a year.")
    return " ".join(notes)


def pack_note(pack: Pack, packs: tuple[Pack, ...]) -> str:
    """Say how much less a credit costs than in the dearest pack; nothing for that one."""
    dearest = max(other.cents_per_credit for other in packs)
    percent = round(100 * (1 - pack.cents_per_credit / dearest))
    return f"{percent}% less per credit" if percent > 0 else ""


def _visitor() -> Visitor:
    account = find_current_account()
    if account is None:
        return Visitor(is_signed_in=False, subscription=None, may_try=True)
    session = db.session()
    subscription = access.row_of(session, account.id)
    may_try = subscription is None and not trials.has_used(session, account.id)
    if not gates.may(role=ADMIN):
        return Visitor(is_signed_in=True, subscription=subscription, may_try=may_try, payer=acting().owner)
    card = saved_cards.find(session, account.id)
    return Visitor(is_signed_in=True, subscription=subscription, may_try=may_try, card=card)
