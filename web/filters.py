"""The words and figures of the pages: money, credits, days and shares, said the same way everywhere."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Flask, current_app, request

import clock
from billing import money as amounts
from billing.money import MINUS, SYMBOLS, ZERO_DECIMAL
from ledger import granting
from ledger.models import CreditKind
from web import charts, navigation

A_YEAR = timedelta(days=365)
THEMES = ("light", "dark")
LOOK_AGAIN_SECONDS = 1.0

SUBSCRIPTION_WORDS = {
    "trialing": ("Trial", "info"),
    "active": ("Active", "positive"),
    "past_due": ("Payment failed", "danger"),
    "unpaid": ("Unpaid", "danger"),
    "incomplete": ("Awaiting payment", "warning"),
    "incomplete_expired": ("Not completed", "neutral"),
    "paused": ("Paused", "warning"),
    "canceled": ("Ended", "neutral"),
}


def init_app(app: Flask) -> None:
    """Give every template these filters and globals; docs/interface.md lists them."""
    app.jinja_env.filters.update({f.__name__: f for f in FILTERS})
    app.jinja_env.globals.update(
        asset=asset,
        chart_bars=charts.bars,
        chart_area=charts.area,
        meter_segments=charts.segments,
        navigation=navigation.main,
        has_page=navigation.has_page,
        settings=app.config["TOLLGATE"],
        theme=theme,
        today=today,
    )
    app.jinja_env.lstrip_blocks = True
    app.extensions["assets"] = {}
    # Safe because asset() gives a changed file another address.
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = A_YEAR


def money(amount_cents: int, currency: str = "usd", *, trim: bool = False) -> str:
    """Say an amount in a currency's smallest unit: 2000, "usd" is "$20.00"; with trim whole amounts are "$20"."""
    return amounts.in_words(amount_cents, currency, trim=trim)


def per_unit(cents: float, currency: str = "usd") -> str:
    """Say the price of one of many, where a fraction of a cent may matter: "$0.67", "$0.0235"."""
    if currency.lower() in ZERO_DECIMAL or cents >= 1:
        return money(round(cents), currency)
    return f"{SYMBOLS.get(currency.lower(), '')}{cents / 100:.4f}".rstrip("0")


def number(value: int) -> str:
    """Say a whole number with thousands separated: 2500 is "2,500"."""
    return f"{MINUS if value < 0 else ''}{abs(value):,}"


def credits(count: int) -> str:
    """Say a number of credits: "1 credit", "2,500 credits"."""
    return f"{number(count)} {'credit' if abs(count) == 1 else 'credits'}"


def signed(value: int) -> str:
    """Say a change with its direction: "+30", "-2" with a true minus, "0"."""
    return f"+{number(value)}" if value > 0 else number(value)


def percent(part: float, whole: float) -> str:
    """Say a share in whole percent; nothing of nothing is "0%"."""
    return f"{round(100 * part / whole)}%" if whole else "0%"


def day(value: date) -> str:
    """Say a day in full: "21 December 2026"; instants are given in UTC."""
    return f"{value.day} {value:%B %Y}"


@lru_cache(maxsize=400)
def short_day(value: date) -> str:
    """Say a day of this year or the next in short: "21 Dec"."""
    return f"{value.day} {value:%b}"


def weekday(value: date) -> str:
    """Say a near day as people plan it: "Monday 21 December"."""
    return f"{value:%A} {value.day} {value:%B}"


def moment(value: datetime) -> str:
    """Say an instant: "21 December 2026, 14:05 UTC"."""
    return f"{day(value)}, {value:%H:%M} UTC"


def in_days(value: date) -> str:
    """Say how far away a day is: "today", "tomorrow", "in 12 days", "3 days ago"."""
    days = days_left(value)
    near = {0: "today", 1: "tomorrow", -1: "yesterday"}
    if days in near:
        return near[days]
    return f"in {days} days" if days > 0 else f"{-days} days ago"


def days_left(value: date) -> int:
    """Return how many days are left until a day; negative when it is past."""
    return (_as_day(value) - today()).days


def ago(value: datetime) -> str:
    """Say how long ago an instant was, down to the minute: "just now", "5 minutes ago", "3 days ago", then the day."""
    seconds = (clock.now() - value).total_seconds()
    if seconds < 0:
        return in_days(value)
    for limit, length, unit in ((60, 1, ""), (3600, 60, "minute"), (86400, 3600, "hour"), (14 * 86400, 86400, "day")):
        if seconds < limit:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'} ago" if unit else "just now"
    return day(value)


def source_word(kind: str) -> str:
    """Name where credits came from, as the statement does: "plan" is "Plan credits"."""
    return granting.REASONS[CreditKind(kind)]


def status_word(stripe_status: str) -> str:
    """Say a subscription's Stripe status in a word for its owner."""
    return SUBSCRIPTION_WORDS.get(stripe_status, (stripe_status.replace("_", " ").capitalize(), "neutral"))[0]


def status_tone(stripe_status: str) -> str:
    """Return the tone of the badge for a subscription's Stripe status."""
    return SUBSCRIPTION_WORDS.get(stripe_status, ("", "neutral"))[1]


def today() -> date:
    """Return the present day in UTC."""
    return clock.now().date()


def theme() -> str:
    """Return the theme that the visitor chose: "light", "dark", or "" to follow the device."""
    chosen = request.cookies.get("theme", "")
    return chosen if chosen in THEMES else ""


def asset(filename: str) -> str:
    """Return the address of a static file with a mark of its content, so that it may be cached for ever."""
    app, now = current_app, time.monotonic()
    known: dict[str, tuple[float, str]] = app.extensions["assets"]
    looked_at, address = known.get(filename, (-math.inf, ""))
    # A page names eight files, and none of them changes from one page to the next.
    if now - looked_at > LOOK_AGAIN_SECONDS:
        path = f"{app.static_folder}/{filename}"
        mark = _content_mark(path, os.stat(path).st_mtime_ns)  # noqa: PTH116
        address = f"{app.static_url_path}/{filename}?v={mark}"
        known[filename] = (now, address)
    return f"{request.script_root}{address}"


@lru_cache(maxsize=256)
def _content_mark(path: str, _changed_at: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:10]


def _as_day(value: Any) -> date:
    return value.date() if isinstance(value, datetime) else value


FILTERS: tuple[Callable[..., object], ...] = (
    *(money, per_unit, number, credits, signed, percent),
    *(day, short_day, weekday, moment, in_days, days_left, ago),
    *(status_word, status_tone, source_word),
)
