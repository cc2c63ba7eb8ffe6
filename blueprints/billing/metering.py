"""What is used of the plan, what goes beyond it and what that costs, and the cap that the customer sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import abort, flash, redirect, render_template, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import RadioField, SelectChoice, StringField, ValidationError

import database
from accounts.models import ADMIN
from billing import catalog, coming_use, limits, money, usage, usage_standing
from billing.usage_standing import Standing
from blueprints.billing.base import bp
from extensions import db, limiter
from web import filters, gates
from web.current import current_account

NOTHING, AMOUNT, ANY = "nothing", "amount", "any"
MOST_CENTS = 10_000_000


class CapForm(FlaskForm):  # type: ignore[misc]
    """The most to pay in a period beyond what is included."""

    choice = RadioField(
        "How far may use go beyond your plan?",
        choices=[
            SelectChoice(NOTHING, "Not at all: stop at what is included"),
            SelectChoice(AMOUNT, "Up to an amount"),
            SelectChoice(ANY, "As far as needed"),
        ],
    )
    amount = StringField("At most, each month")

    def __init__(self, *, currency: str, **options: Any) -> None:
        super().__init__(**options)
        self.currency = currency
        self.cents: int | None = None

    def validate_amount(self, field: StringField) -> None:
        """Read the amount, where one is asked for."""
        if self.choice.data != AMOUNT:
            self.cents = 0 if self.choice.data == NOTHING else None
            return
        try:
            self.cents = money.read(field.data or "", self.currency)
        except ValueError as error:
            raise ValidationError("Write an amount such as 20 or 20.50.") from error
        if self.cents > MOST_CENTS:
            raise ValidationError(f"Use at most {filters.money(MOST_CENTS, self.currency)}, or choose no cap.")


@bp.get("/billing/usage")
@gates.requires(role=ADMIN)
def usage_page() -> str:
    """Show what is included, used and coming, and the caps."""
    return _page()


@bp.post("/billing/usage/<meter>/cap")
@gates.requires(role=ADMIN)
@limiter.limit("60 per hour")
def set_cap(meter: str) -> Response | tuple[str, int]:
    """Set how far use may go beyond the plan; it holds from now on."""
    if not limits.is_metered(meter):
        abort(404)
    standing = usage_standing.standing(db.session(), current_account().id, meter)
    form = CapForm(prefix=meter, currency=standing.currency)
    if not form.validate_on_submit():
        return _page(refused={meter: form}), 422
    database.write(usage.set_cap, current_account().id, meter, form.cents)
    flash(cap_words(form.cents, standing), "success")
    return redirect(url_for("billing.usage_page"), 303)


def cap_words(cap_cents: int | None, standing: Standing) -> str:
    """Say what a cap means from now on."""
    if cap_cents is None:
        return "Saved. There is no cap: what goes beyond your plan is billed."
    if cap_cents == 0:
        return "Saved. Use stops at what your plan includes, and nothing is billed beyond it."
    amount = filters.money(cap_cents, standing.currency)
    if standing.amount_cents > cap_cents:
        return f"Saved. Use stops now: this period comes to {filters.money(standing.amount_cents, standing.currency)}."
    return f"Saved. Use stops when it comes to {amount} beyond your plan in a month."


@dataclass(frozen=True)
class Overview:
    """How the signed-in account stands with every meter and every limit; names and coming cents by the meters' keys."""

    standings: list[Standing]
    rooms: list[limits.Room]
    names: dict[str, str]
    coming_cents: dict[str, int]


def usage_overview() -> Overview:
    """Return what is used of the plan by the account that the visitor acts for."""
    session, account_id = db.session(), current_account().id
    standings = usage_standing.of_every_meter(session, account_id)
    return Overview(
        standings=standings,
        rooms=limits.rooms(session, account_id),
        names={meter.key: meter.name for meter in catalog.current().meters},
        coming_cents=coming_use.by_meter(session, account_id, standings),
    )


def _page(refused: dict[str, CapForm] | None = None) -> str:
    overview = usage_overview()
    forms = {s.meter: (refused or {}).get(s.meter) or _form_of(s) for s in overview.standings}
    return render_template(
        "billing/usage.html",
        standings=overview.standings,
        names=overview.names,
        coming_cents=overview.coming_cents,
        rooms=overview.rooms,
        forms=forms,
        form=next(iter(refused.values())) if refused else None,
        sells_overage={s.meter: _sells_overage(s) for s in overview.standings},
    )


def _form_of(standing: Standing) -> CapForm:
    cents = standing.cap_cents
    choice = ANY if cents is None else (AMOUNT if cents else NOTHING)
    amount = (
        "" if not cents else filters.money(cents, standing.currency).lstrip(money.SYMBOLS.get(standing.currency, ""))
    )
    return CapForm(
        prefix=standing.meter, currency=standing.currency, formdata=None, data={"choice": choice, "amount": amount}
    )


def _sells_overage(standing: Standing) -> bool:
    return any(price.meter == standing.meter for price in standing.plan.overages)
