"""What a checkout session sells, in the words and figures of its page's summary."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from stripe_sandbox.engine import checkout, completion, discounts, pricing
from stripe_sandbox.engine.wording import money

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


def summarise(world: World, session: Document) -> Document:
    """Return the summary: title, figure, what follows, lines, discount, and what is due today - all in words."""
    currency = session["currency"] or "usd"
    due = checkout.due_now(world, session)
    lines = [_line(world, item) for item in session["_line_items"]]
    then = _then(world, session)
    trial = completion.trial_end_of(world, session)
    summary: Document = {
        "title": _title(session, lines, trial),
        "lines": lines,
        "subtotal": money(session["amount_subtotal"] or 0, currency),
        "due": money(due, currency),
        "discounts": _discounts(world, session),
        "discount": _negative((session["total_details"] or {}).get("amount_discount"), currency),
        "credit": _negative((session["amount_total"] or 0) - due, currency),
        "then": then,
        "trial": trial and _trial(world, trial, then),
        "recurs": session["mode"] == "subscription",
        "every": lines[0]["every"] if len(lines) == 1 else "",
    }
    summary["figure"], summary["beside"] = _figure(session, summary, lines)
    return summary


def _negative(amount: int | None, currency: str) -> str:
    return money(-amount, currency) if amount else ""


def every(recurring: Document | None, *, short: bool = False) -> str:
    """Return how often a price recurs: "per month" or, short, "a month"; "every 3 months"; "" when it does not."""
    if not recurring:
        return ""
    count, interval = recurring["interval_count"], recurring["interval"]
    if count > 1:
        return f"every {count} {interval}s"
    return f"{'a' if short else 'per'} {interval}"


def price_words(price: Document, quantity: int = 1) -> str:
    """Return what a price comes to, such as "$49.00 per month" or "$0.01 per unit, by use"."""
    if price["recurring"] and price["recurring"]["usage_type"] == "metered":
        return f"{_unit(price)} per unit, by use"
    amount = money(pricing.amount(price, quantity), price["currency"])
    return f"{amount} {every(price['recurring'])}".strip()


def _unit(price: Document) -> str:
    exact = pricing.unit_amount(price)
    if exact == int(exact):
        return money(int(exact), price["currency"])
    return f"{exact.normalize():f} {price['currency']} cents"


def date(moment: int) -> str:
    """Write the day of a moment: 5 December 2026."""
    return f"{datetime.fromtimestamp(moment, UTC):%d %B %Y}".lstrip("0")


def _line(world: World, item: Document) -> Document:
    price = world.get("price", item["price"])
    product = world.get("product", price["product"])
    quantity = item["quantity"] or 1
    metered = bool(price["recurring"]) and price["recurring"]["usage_type"] == "metered"
    return {
        "name": product["name"],
        "description": product["description"],
        "quantity": item["quantity"],
        "full": f"{_unit(price)} per unit" if metered else money(pricing.amount(price, quantity), price["currency"]),
        "each": "" if quantity == 1 or metered else f"{_unit(price)} each",
        "every": "by use" if metered else every(price["recurring"]),
        "billed": _billed(price, metered=metered),
    }


def _billed(price: Document, *, metered: bool) -> str:
    if not price["recurring"]:
        return ""
    count, interval = price["recurring"]["interval_count"], price["recurring"]["interval"]
    often = f"every {count} {interval}s" if count > 1 else {"day": "daily"}.get(interval, f"{interval}ly")
    return f"Billed {often}" + (" by what you use" if metered else "")


def _then(world: World, session: Document) -> str:
    """Return what recurs: "$49.00 a month", or "$36.75 a month for 3 months, then $49.00 a month"."""
    coupons = [discounts.coupon_of(world, one)[0] for one in session["discounts"] or [] if any(one.values())]
    lasting = [coupon for coupon in coupons if coupon["duration"] != "once"]
    reduced, full = _recurring(world, session, lasting), _recurring(world, session, [])
    ending = next((coupon for coupon in lasting if coupon["duration"] == "repeating"), None)
    if ending is None or reduced == full:
        return reduced
    months = ending["duration_in_months"]
    return f"{reduced} for {months} month{'s' if months > 1 else ''}, then {full}"


def _recurring(world: World, session: Document, coupons: list[Document]) -> str:
    lines, rhythms = [], []
    for item in session["_line_items"]:
        price = world.get("price", item["price"])
        if price["recurring"] and price["recurring"]["usage_type"] != "metered":
            amount = pricing.amount(price, item["quantity"])
            lines.append({"amount": amount, "discountable": True, "_product": price["product"]})
            rhythms.append(every(price["recurring"], short=True))
    if not lines:
        return ""
    pricing.discount_lines(lines, [("di_preview", coupon) for coupon in coupons])
    total = sum(line["amount"] - sum(part["amount"] for part in line["discount_amounts"]) for line in lines)
    return f"{money(total, session['currency'])} {rhythms[0]}"


def _trial(world: World, end: int, then: str) -> Document:
    days = max(round((end - world.now) / 86400), 1)
    free = f"{days} day{'s' if days > 1 else ''} free"
    return {"free": free, "ends": date(end), "words": f"{free}, then {then}" if then else free}


def _title(session: Document, lines: list[Document], trial: int | None) -> str:
    if session["mode"] == "setup":
        return "Save a card for later"
    names = lines[0]["name"] if len(lines) == 1 else f"{len(lines)} things"
    if session["mode"] == "subscription":
        return f"Try {names}" if trial else f"Subscribe to {names}"
    return names


def _figure(session: Document, summary: Document, lines: list[Document]) -> tuple[str, str]:
    """Return the large figure, and the small words beside it."""
    if session["mode"] == "setup":
        return "", ""
    if summary["trial"]:
        return summary["trial"]["free"], ""
    if len(lines) == 1 and lines[0]["every"] == "by use":
        return summary["due"], "due today"
    plain = len(lines) == 1 and not summary["discount"] and not summary["credit"]
    return summary["due"], lines[0]["every"] if plain else "due today" if summary["recurs"] else ""


def _discounts(world: World, session: Document) -> list[Document]:
    shown = []
    for wanted in session["discounts"] or []:
        if not any(wanted.values()):
            continue
        coupon, code = discounts.coupon_of(world, wanted)
        off = f"{coupon['percent_off']:g}% off" if coupon["percent_off"] else None
        off = off or f"{money(coupon['amount_off'], coupon['currency'])} off"
        lasts = {"once": "", "forever": " for as long as you subscribe"}.get(coupon["duration"])
        if lasts is None:
            lasts = f" for {coupon['duration_in_months']} months"
        lasting = lasts if session["mode"] == "subscription" else ""
        shown.append({"code": code["code"] if code else coupon["name"] or coupon["id"], "words": off + lasting})
    return shown
