"""What is sold, read from one TOML file into frozen objects; docs/catalogue.md explains every key.

Nothing here talks to Stripe: billing/stripe_catalog.py makes Stripe sell the same, and a price is found there by its
lookup key. Amounts are whole numbers of the currency's smallest unit, called cents everywhere.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar, cast

from flask import Flask, current_app

from billing import catalog_file, catalog_rules, promotions
from billing.errors import BillingError
from config import Config

ROOT = Path(__file__).resolve().parents[1]
PRESETS = {
    "cv": ROOT / "catalog.toml",
    "ai": ROOT / "catalogs" / "ai.toml",
    "projects": ROOT / "catalogs" / "projects.toml",
}

Interval = Literal["month", "year"]
INTERVAL_WORDS: dict[str, Interval] = {"monthly": "month", "yearly": "year"}

# What Stripe takes: the largest amount, and the longest trial in days.
MAX_CENTS = 99_999_999
MAX_TRIAL_DAYS = 730
MAX_ROLLOVER_MONTHS = 24
MAX_COUNT = 1_000_000_000
MAX_POLICY = 100_000
FRAUD_POLICIES = ("show", "pause", "refund")
TRIAL_POLICIES = ("one", "any")

T = TypeVar("T", "Plan", "Pack", "Feature", "Price")


class CatalogError(Exception):
    """The catalogue cannot be used; the message names the file and the key of every problem."""

    def __init__(self, where: str, problems: list[str]) -> None:
        super().__init__("\n".join(f"{where}: {problem}" for problem in problems))
        self.problems = problems


class UnknownOffer(BillingError):
    """Nothing with this key is sold."""

    status = 404

    def __init__(self, key: str) -> None:
        super().__init__(f"nothing called {key!r} is sold")
        self.key = key


@dataclass(frozen=True)
class Price:
    """An amount for something: `amount_cents` of `currency`, once or per `interval`.

    A metered price charges `cents_per_unit` for each unit that a meter counts in a period beyond the first
    `included_units`; its `amount_cents` is 0.
    """

    key: str
    lookup_key: str
    amount_cents: int
    currency: str
    interval: Interval | None = None
    meter: str | None = None
    cents_per_unit: Decimal | None = None
    included_units: int = 0

    @property
    def is_metered(self) -> bool:
        return self.meter is not None


@dataclass(frozen=True)
class Feature:
    """Something that a plan opens; a planned one is shown as such, and no view asks for it yet."""

    key: str
    name: str
    description: str = ""
    is_planned: bool = False


@dataclass(frozen=True)
class Meter:
    """Something that is counted and billed by use, beyond what a plan includes."""

    key: str
    name: str
    event_name: str


@dataclass(frozen=True)
class Plan:
    """A subscription: `credits` a month, features, and limits of which -1 means unlimited.

    Credits that are left over can be spent for `rollover_months` more: so one never has more than those months' worth.

    A retired plan is sold to nobody any more and stays what it is to those who have it.
    """

    key: str
    name: str
    tagline: str = ""
    credits: int = 0
    features: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    trial_days: int = 0
    is_trial_without_card: bool = False
    rollover_months: int = 0
    prices: tuple[Price, ...] = ()
    overages: tuple[Price, ...] = ()
    is_recommended: bool = False
    is_retired: bool = False

    @property
    def is_free(self) -> bool:
        return not self.prices

    @property
    def intervals(self) -> tuple[Interval, ...]:
        return tuple(p.interval for p in self.prices if p.interval)

    def price_for(self, interval: str) -> Price | None:
        """Return the price for paying each month or year; None when the plan has none."""
        return next((p for p in self.prices if p.interval == interval), None)


@dataclass(frozen=True)
class Pack:
    """Credits bought once, which never expire."""

    key: str
    name: str
    credits: int
    price: Price
    is_retired: bool = False

    @property
    def cents_per_credit(self) -> float:
        return self.price.amount_cents / self.credits


@dataclass(frozen=True)
class Policies:
    """How billing treats people, where a business may choose; docs/billing.md says what each does."""

    plan_credit_grace_hours: int = 72
    past_due_grace_days: int = 7
    low_balance_credits: int = 5
    # What an early fraud warning does: "show" it to staff, "pause" spending besides, or "refund" the charge besides.
    fraud_warning: str = "pause"
    # How many trials a card may begin, whatever the account: "one", or "any" number.
    trials_per_card: str = "one"
    # Whether the checkout takes promotion codes: "show" the field for them, or "hide" it.
    promotion_codes: str = "show"
    # When somebody answers questions, from Monday to Friday, in full hours of UTC; and how soon they do.
    support_opens_hour: int = 9
    support_closes_hour: int = 17
    support_priority_hours: int = 4
    support_days: int = 2
    # For how many months each record of use is kept, and its key known again; then sums by the day. 0: for ever.
    usage_records_months: int = 13


@dataclass(frozen=True)
class Catalog:
    """Everything that is sold or was, in the file's order."""

    name: str
    currency: str
    plans: tuple[Plan, ...]
    packs: tuple[Pack, ...]
    features: tuple[Feature, ...]
    meters: tuple[Meter, ...]
    costs: Mapping[str, int]
    policies: Policies
    promotions: tuple[promotions.Promotion, ...] = ()
    # Stripe price ids configured by hand, by price key: STRIPE_PRICE_<KEY>.
    overrides: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def free_plan(self) -> Plan:
        return next(p for p in self.plans if p.is_free)

    @property
    def plans_for_sale(self) -> tuple[Plan, ...]:
        """The plans that people can choose, the free one among them."""
        return tuple(plan for plan in self.plans if not plan.is_retired)

    @property
    def packs_for_sale(self) -> tuple[Pack, ...]:
        """The packs that people can buy."""
        return tuple(pack for pack in self.packs if not pack.is_retired)

    @property
    def prices(self) -> tuple[Price, ...]:
        """Every price, of what is retired too: the plans', what they charge for use, and the packs'."""
        of_plans = [price for plan in self.plans for price in (*plan.prices, *plan.overages)]
        return (*of_plans, *(pack.price for pack in self.packs))

    def plan(self, key: str) -> Plan:
        """Return a plan; raise UnknownOffer."""
        return _found(key, self.plans)

    def pack(self, key: str) -> Pack:
        """Return a pack; raise UnknownOffer."""
        return _found(key, self.packs)

    def feature(self, key: str) -> Feature:
        """Return a feature; raise UnknownOffer."""
        return _found(key, self.features)

    def price(self, price_key: str) -> Price:
        """Return a price by its key, such as pro_monthly; raise UnknownOffer."""
        return _found(price_key, self.prices)

    def has_price(self, price_key: str) -> bool:
        """Tell whether something is or was sold under this key."""
        return any(p.key == price_key for p in self.prices)

    def offer(self, price_key: str) -> Plan | Pack:
        """Return what a price buys or bought; raise UnknownOffer, also for prices that are charged only by use."""
        for plan in self.plans:
            if any(p.key == price_key for p in plan.prices):
                return plan
        return _found(price_key, self.packs)

    def for_sale(self, price_key: str) -> Plan | Pack:
        """Return what a price buys today; raise UnknownOffer for everything else, whatever a browser sends."""
        offer = self.offer(price_key)
        if offer.is_retired:
            raise UnknownOffer(price_key)
        return offer

    def key_of(self, *, lookup_key: str | None, stripe_price_id: str) -> str | None:
        """Return the key of a price that Stripe knows by this lookup key or id; None when it is not ours."""
        by_id = next((key for key, known in self.overrides.items() if known == stripe_price_id), None)
        if by_id is not None:
            return by_id
        return next((p.key for p in self.prices if lookup_key is not None and p.lookup_key == lookup_key), None)


def init_app(app: Flask) -> None:
    """Load the configured catalogue; raises CatalogError."""
    config: Config = app.config["TOLLGATE"]
    app.extensions["catalog"] = load(config.catalog, overrides=config.stripe_price_overrides)


def current() -> Catalog:
    """Return the app's catalogue."""
    return cast(Catalog, current_app.extensions["catalog"])


def load(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Catalog:
    """Read a preset (cv, ai, projects) or a file; raise CatalogError with every problem in it.

    `overrides` maps price keys to Stripe price ids; a key that nothing is sold under is an error.
    """
    path = PRESETS.get(name_or_path, Path(name_or_path))
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(PRESETS)
        raise CatalogError("CATALOG", [f"{name_or_path!r} is neither {known} nor a file that can be read"]) from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise CatalogError(path.name, [str(error)]) from error
    table = catalog_file.Table(content)
    catalog = _catalog(table, default_name=path.stem)
    # References between broken parts would only repeat what is already said about the parts.
    problems = table.problems or catalog_rules.contradictions(catalog)
    if problems:
        raise CatalogError(path.name, problems)
    return _with_overrides(catalog, overrides or {})


def _with_overrides(catalog: Catalog, overrides: Mapping[str, str]) -> Catalog:
    unknown = [key for key in overrides if not catalog.has_price(key)]
    if unknown:
        keys = ", ".join(p.key for p in catalog.prices)
        raise CatalogError(
            "settings", [f"STRIPE_PRICE_{key.upper()} matches no price key; there are {keys}" for key in unknown]
        )
    return replace(catalog, overrides=MappingProxyType(dict(overrides)))


def _catalog(table: catalog_file.Table, default_name: str) -> Catalog:
    name = table.word("name", default_name)
    currency = table.word("currency", "usd", pattern=catalog_file.CURRENCY, wanted="three small letters such as usd")
    table.expect("name", "currency", "policies", "features", "costs", "meters", "plans", "packs", "promotions")
    return Catalog(
        name=name,
        currency=currency,
        features=tuple(_feature(key, t) for key, t in table.tables("features")),
        meters=tuple(_meter(key, t) for key, t in table.tables("meters")),
        costs=MappingProxyType(table.numbers("costs", at_least=0, at_most=MAX_COUNT)),
        plans=tuple(_plan(key, t, name, currency) for key, t in table.tables("plans")),
        packs=tuple(_pack(key, t, name, currency) for key, t in table.tables("packs")),
        policies=_policies(table.table("policies")),
        promotions=tuple(promotions.read(key, t) for key, t in table.tables("promotions")),
    )


def _feature(key: str, table: catalog_file.Table) -> Feature:
    table.expect("name", "description", "planned")
    return Feature(
        key=key,
        name=table.required_text("name"),
        description=table.text("description", ""),
        is_planned=table.flag("planned"),
    )


def _meter(key: str, table: catalog_file.Table) -> Meter:
    table.expect("name", "event_name")
    return Meter(key=key, name=table.required_text("name"), event_name=table.word("event_name", key))


def _plan(key: str, table: catalog_file.Table, catalog_name: str, currency: str) -> Plan:
    table.expect(
        "name", "tagline", "credits", "features", "limits", "trial_days", "trial_without_card", "rollover_months",
        "monthly_cents", "yearly_cents", "overage", "recommended", "retired",
    )  # fmt: skip
    limits = table.numbers("limits", at_least=-1, at_most=MAX_COUNT)
    return Plan(
        key=key,
        name=table.required_text("name"),
        tagline=table.text("tagline", ""),
        credits=table.number("credits", 0, at_most=MAX_COUNT),
        features=table.words("features"),
        limits=MappingProxyType(limits),
        trial_days=table.number("trial_days", 0, at_most=MAX_TRIAL_DAYS),
        is_trial_without_card=table.flag("trial_without_card"),
        rollover_months=table.number("rollover_months", 0, at_most=MAX_ROLLOVER_MONTHS),
        prices=tuple(_plan_prices(key, table, catalog_name, currency)),
        overages=tuple(
            replace(_overage(key, meter, t, catalog_name, currency), included_units=max(0, limits.get(meter, 0)))
            for meter, t in table.tables("overage")
        ),
        is_recommended=table.flag("recommended"),
        is_retired=table.flag("retired"),
    )


def _plan_prices(key: str, table: catalog_file.Table, catalog_name: str, currency: str) -> list[Price]:
    amounts = {word: table.optional_number(f"{word}_cents", at_most=MAX_CENTS) for word in INTERVAL_WORDS}
    return [
        Price(f"{key}_{word}", f"{catalog_name}_{key}_{word}", amount, currency, INTERVAL_WORDS[word])
        for word, amount in amounts.items()
        if amount is not None
    ]


def _overage(plan: str, meter: str, table: catalog_file.Table, catalog_name: str, currency: str) -> Price:
    table.expect("cents_per_1000")
    cents = Decimal(table.required_number("cents_per_1000", at_most=MAX_CENTS)) / 1000
    key = f"{plan}_{meter}"
    return Price(key, f"{catalog_name}_{key}", 0, currency, "month", meter=meter, cents_per_unit=cents)


def _pack(key: str, table: catalog_file.Table, catalog_name: str, currency: str) -> Pack:
    table.expect("name", "credits", "amount_cents", "retired")
    credits = table.required_number("credits", at_most=MAX_COUNT)
    cents = table.required_number("amount_cents", at_most=MAX_CENTS)
    price = Price(key, f"{catalog_name}_{key}", cents, currency)
    name = table.text("name", f"{credits:,} credits")
    return Pack(key=key, name=name, credits=credits, price=price, is_retired=table.flag("retired"))


def _policies(table: catalog_file.Table) -> Policies:
    default = Policies()
    choices = ("fraud_warning", "trials_per_card", "promotion_codes")
    numbers = tuple(name for name in Policies.__dataclass_fields__ if name not in choices)
    table.expect(*numbers, *choices)
    return Policies(
        **{name: table.number(name, getattr(default, name), at_most=MAX_POLICY) for name in numbers},
        fraud_warning=table.choice("fraud_warning", FRAUD_POLICIES, default.fraud_warning),
        trials_per_card=table.choice("trials_per_card", TRIAL_POLICIES, default.trials_per_card),
        promotion_codes=table.choice("promotion_codes", ("show", "hide"), default.promotion_codes),
    )


def _found(key: str, things: tuple[T, ...]) -> T:
    for thing in things:
        if thing.key == key:
            return thing
    raise UnknownOffer(key)
