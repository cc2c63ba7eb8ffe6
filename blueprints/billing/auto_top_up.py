"""Auto top-up: choose, read the exact sentence, agree - and switch it off by one click."""

from __future__ import annotations

from datetime import timedelta

from flask import current_app, flash, redirect, render_template, request, url_for
from flask_login import current_user
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import SelectField
from wtforms.validators import InputRequired, NumberRange, ValidationError

import database
from accounts.models import ADMIN
from billing import auto_top_ups, catalog, errors, money, saved_cards, top_ups
from billing.auto_top_ups import Agreement
from billing.saved_cards import Card
from blueprints.billing.base import bp
from config import Config
from extensions import db, limiter
from ledger import statement
from web import filters, gates, idempotency, sealed
from web.current import current_account
from web.whole_numbers import WholeNumberField

PURPOSE = "auto-top-up"
LIFETIME = timedelta(minutes=30)
# How a purchase ended, in a word and a tone.
STATES = {
    "asking": ("Being confirmed", "info"),
    "paid": ("Bought", "positive"),
    "declined": ("Declined", "danger"),
    "challenged": ("Bank asked for you", "warning"),
    "failed": ("Not carried out", "neutral"),
}


class ChoiceForm(FlaskForm):  # type: ignore[misc]
    """When to buy what, and how much at most; sent by GET, because it only leads to the sentence to agree to."""

    class Meta:
        csrf = False

    threshold = WholeNumberField(
        "When the balance falls below",
        validators=[InputRequired("Say at how many credits."), NumberRange(1, message="Use at least 1 credit.")],
    )
    pack = SelectField("Buy", validators=[InputRequired("Choose a pack.")])
    cap = WholeNumberField(
        "At most in a calendar month",
        validators=[
            InputRequired("Say how much at most."),
            NumberRange(1, 1_000_000, message="Use a whole amount from 1 to 1,000,000."),
        ],
    )

    def validate_threshold(self, field: WholeNumberField) -> None:
        """One pack must lift the balance above it, or one purchase would call for the next."""
        chosen = next((p for p in catalog.current().packs_for_sale if p.price.key == self.pack.data), None)
        if chosen is not None and field.data is not None and field.data > chosen.credits:
            raise ValidationError(f"Use at most {filters.number(chosen.credits)}: that is what the pack brings.")

    def validate_cap(self, field: WholeNumberField) -> None:
        """The cap must leave room for one pack."""
        chosen = next((p for p in catalog.current().packs_for_sale if p.price.key == self.pack.data), None)
        if chosen is not None and field.data is not None and _cents(field.data) < chosen.price.amount_cents:
            least = filters.money(chosen.price.amount_cents, chosen.price.currency)
            raise ValidationError(f"One pack costs {least}: use at least that.")


@bp.get("/billing/auto-top-up")
@gates.requires(role=ADMIN)
@limiter.limit("60 per minute")
def auto_top_up() -> str | tuple[str, int]:
    """Show what is agreed to and the form; with its answers in the address, the exact sentence to agree to."""
    session, account_id = db.session(), current_account().id
    row, card = auto_top_ups.find(session, account_id), saved_cards.find(session, account_id)
    packs = catalog.current().packs_for_sale
    has_chosen = "pack" in request.args
    form = ChoiceForm(request.args if has_chosen else None, data=_suggestion(row))
    form.pack.choices = [
        (p.price.key, f"{filters.credits(p.credits)} for {filters.money(p.price.amount_cents, p.price.currency)}")
        for p in packs
    ]
    is_good = has_chosen and card is not None and bool(form.validate())
    page = render_template(
        "billing/auto_top_up.html",
        form=form,
        row=row,
        pack=next((p for p in packs if row is not None and p.price.key == row.price_key), None),
        packs=packs,
        saved_card=card,
        proposal=_proposal(form, card) if is_good and card is not None else None,
        used_cents=auto_top_ups.spent_this_month(session, account_id),
        history=auto_top_ups.history(session, account_id),
        states=STATES,
        stopped=auto_top_ups.STOPPED,
        balance=statement.balance(session, account_id).total,
        currency_sign=money.in_words(0, catalog.current().currency, trim=True).replace("0", "").strip(),
    )
    return (page, 422) if form.errors else page


@bp.post("/billing/auto-top-up")
@gates.requires(role=ADMIN)
@limiter.limit("30 per hour")
def agree_to_auto_top_up() -> Response:
    """Switch it on for exactly the sentence that was shown."""
    idempotency.key()
    price_key, *values = sealed.unseal(PURPOSE, request.form.get("terms", ""), lifetime=LIFETIME)
    terms = dict(zip(("amount_cents", "threshold", "monthly_cap_cents", "card", "consent"), values, strict=True))
    if not request.form.get("agree"):
        flash("Tick the box to agree; nothing has been switched on.", "error")
        cap = terms["monthly_cap_cents"] // _cents(1)
        chosen = {"pack": price_key, "threshold": terms["threshold"], "cap": cap}
        return redirect(url_for("billing.auto_top_up", **chosen, _anchor="agree"), 303)
    try:
        database.write(
            auto_top_ups.agree, current_account().id, user_id=current_user.id, price_key=price_key, terms=terms
        )
    except errors.OfferChanged:
        flash("Your card or the price is another one by now. Nothing was switched on; look again.", "warning")
        return redirect(url_for("billing.auto_top_up"), 303)
    flash("Auto top-up is on. You can switch it off here at any time.", "success")
    return redirect(url_for("billing.auto_top_up"), 303)


@bp.post("/billing/auto-top-up/off")
@gates.requires(role=ADMIN)
def stop_auto_top_up() -> Response:
    """Switch it off at once."""
    was_on = database.write(auto_top_ups.switch_off, current_account().id)
    flash("Auto top-up is off. Nothing more is charged by itself." if was_on else "Auto top-up was off.", "success")
    return redirect(url_for("billing.auto_top_up"), 303)


def _suggestion(row: Agreement | None) -> dict[str, object]:
    """Return what the form begins with: what was agreed to before, else something modest."""
    packs = catalog.current().packs_for_sale
    if row is not None and any(p.price.key == row.price_key for p in packs):
        cap = row.monthly_cap_cents // _cents(1)
        return {"pack": row.price_key, "threshold": row.threshold_credits, "cap": cap}
    if not packs:
        return {}
    middle = packs[len(packs) // 2]
    threshold = min(middle.credits, max(1, catalog.current().policies.low_balance_credits))
    return {"pack": middle.price.key, "threshold": threshold, "cap": -(-5 * middle.price.amount_cents // _cents(1))}


def _proposal(form: ChoiceForm, card: Card) -> dict[str, str]:
    pack = top_ups.pack_on_sale(form.pack.data)
    config: Config = current_app.config["TOLLGATE"]
    cap_cents = _cents(form.cap.data)
    consent = auto_top_ups.consent_words(
        pack, card, threshold=form.threshold.data, monthly_cap_cents=cap_cents, seller=config.app_name
    )
    price = pack.price
    values = [price.key, price.amount_cents, form.threshold.data, cap_cents, card.stripe_payment_method_id, consent]
    return {"consent": consent, "terms": sealed.seal(PURPOSE, values)}


def _cents(whole: int) -> int:
    """Turn a whole amount of the catalogue's currency into its smallest unit."""
    return whole * (1 if catalog.current().currency in money.ZERO_DECIMAL else 100)
