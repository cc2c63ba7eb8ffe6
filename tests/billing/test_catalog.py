"""The catalogue: the presets as designed, and a message for everything that can be wrong with a file."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from pathlib import Path

import pytest

from billing import catalog
from billing.catalog import Catalog, CatalogError, UnknownOffer

SMALL = """
name = "small"
[features.history]
name = "History"
[meters.events]
name = "Events"
[plans.free]
name = "Free"
limits = { events = 10 }
[plans.pro]
name = "Pro"
limits = { events = 100 }
features = ["history"]
monthly_cents = 3000
[packs.credits_5]
credits = 5
amount_cents = 500
"""


def read(tmp_path: Path, text: str) -> Catalog:
    path = tmp_path / "catalog.toml"
    path.write_text(text)
    return catalog.load(str(path))


def problems_of(tmp_path: Path, text: str) -> str:
    with pytest.raises(CatalogError) as raised:
        read(tmp_path, text)
    return str(raised.value)


def sold(found: Catalog) -> dict[str, int]:
    return {price.key: price.amount_cents for price in found.prices}


def test_the_cv_preset_sells_what_it_was_designed_to() -> None:
    found = catalog.load("cv")
    assert sold(found) == {
        "basic_monthly": 1500,
        "pro_monthly": 3000,
        "team_monthly": 9900,
        "credits_5": 500,
        "credits_12": 1000,
        "credits_30": 2000,
        "credits_100": 5000,
    }
    assert [(p.key, p.credits, p.features) for p in found.plans[1:]] == [
        ("basic", 20, ("history",)),
        ("pro", 50, ("history", "priority")),
        ("team", 200, ("history", "priority", "members", "api")),
    ]
    assert [pack.credits for pack in found.packs] == [5, 12, 30, 100]
    assert found.free_plan.key == "free"


def test_the_ai_preset_sells_what_it_was_designed_to() -> None:
    found = catalog.load("ai")
    assert sold(found) == {"pro_monthly": 4900, "enterprise_monthly": 19900, "credits_1000": 2000}
    assert {p.key: p.credits for p in found.plans} == {"free": 100, "pro": 2500, "enterprise": 10000}
    assert found.pack("credits_1000").credits == 1000


def test_the_projects_preset_sells_by_size_with_trial_and_overage() -> None:
    found = catalog.load("projects")
    paid = [p for p in found.plans if not p.is_free]
    assert [p.key for p in paid] == ["starter", "pro", "enterprise"]
    assert all(p.intervals == ("month", "year") and p.trial_days == 14 for p in paid)
    assert found.plan("enterprise").limits["projects"] == -1
    assert all(set(p.limits) == {"projects", "events", "members"} for p in found.plans)
    overage = found.price("pro_events")
    assert (overage.is_metered, overage.meter, overage.cents_per_unit) == (True, "events", Decimal("0.05"))
    assert overage.included_units == found.plan("pro").limits["events"]


@pytest.mark.parametrize("name", list(catalog.PRESETS))
def test_a_yearly_price_never_costs_more_than_twelve_months(name: str) -> None:
    for plan in catalog.load(name).plans:
        monthly, yearly = plan.price_for("month"), plan.price_for("year")
        if monthly and yearly:
            assert yearly.amount_cents < 12 * monthly.amount_cents


@pytest.mark.parametrize("name", list(catalog.PRESETS))
def test_the_policies_are_those_of_the_design_unless_a_preset_says_so(name: str) -> None:
    policies = catalog.load(name).policies
    assert (policies.plan_credit_grace_hours, policies.past_due_grace_days) == (72, 7)


@pytest.mark.parametrize("name", list(catalog.PRESETS))
def test_lookup_keys_of_two_presets_never_meet(name: str) -> None:
    found = catalog.load(name)
    assert [p.lookup_key for p in found.prices] == [f"{name}_{p.key}" for p in found.prices]
    assert all(found.key_of(lookup_key=p.lookup_key, stripe_price_id="price_1") == p.key for p in found.prices)


def test_a_price_leads_to_what_it_buys(tmp_path: Path) -> None:
    found = read(tmp_path, SMALL)
    assert found.offer("pro_monthly") is found.plan("pro")
    assert found.offer("credits_5") is found.pack("credits_5")
    assert found.pack("credits_5").cents_per_credit == 100


@pytest.mark.parametrize(
    "key", ["", "pro", "PRO_MONTHLY", "pro_yearly", "free_monthly", "price_123", "../pro", "pro_events"]
)
def test_a_key_that_is_not_sold_is_an_unknown_offer(tmp_path: Path, key: str) -> None:
    text = SMALL.replace("monthly_cents = 3000", "monthly_cents = 3000\noverage.events.cents_per_1000 = 5")
    found = read(tmp_path, text)
    with pytest.raises(UnknownOffer) as raised:
        found.offer(key)
    assert raised.value.status == 404


def test_nothing_of_a_catalogue_can_be_changed_by_who_reads_it(tmp_path: Path) -> None:
    found = read(tmp_path, SMALL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.plan("pro").credits = 1_000_000  # type: ignore[misc]
    for mapping in (found.plan("pro").limits, found.costs, found.overrides):
        with pytest.raises(TypeError):
            mapping["events"] = -1  # type: ignore[index]


def test_a_configured_price_id_is_known_by_its_key(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(SMALL)
    found = catalog.load(str(path), overrides={"pro_monthly": "price_mine"})
    assert found.key_of(lookup_key=None, stripe_price_id="price_mine") == "pro_monthly"
    assert found.key_of(lookup_key=None, stripe_price_id="price_other") is None


def test_a_configured_price_for_nothing_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="STRIPE_PRICE_PRO_WEEKLY matches no price key; there are basic_monthly, "):
        catalog.load("cv", overrides={"pro_weekly": "price_1", "pro_monthly": "price_2"})


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(CatalogError, match="CATALOG: 'cvv' is neither cv, ai, projects nor a file that can be read"):
        catalog.load("cvv")


# What is replaced in SMALL, by what, and what the message says of it.
MALFORMED = {
    "monthly_cents = 3000": [
        ("monthly_cents = 'thirty'", "plans.pro.monthly_cents: must be a whole number of cents; it is 'thirty'"),
        ("monthly_cents = 30.0", "plans.pro.monthly_cents: must be a whole number of cents; it is 30.0"),
        ("monthly_cents = true", "plans.pro.monthly_cents: must be a whole number of cents; it is True"),
        ("monthly_cents = 0", "plans.pro.monthly_cents: must be a whole number of cents from 1 to 99999999; it is 0"),
        ("monthly_cents = -1", "plans.pro.monthly_cents: must be a whole number of cents from 1"),
        ("montly_cents = 3000", "plans.pro.montly_cents: is not a key of the catalogue; did you mean 'monthly_cents'?"),
        ("monthly_cents = 3000\nzzz = 1", "plans.pro.zzz: is not a key of the catalogue; known here: name, tagline,"),
        (
            "monthly_cents = 3000\ntrial_days = 731",
            "plans.pro.trial_days: must be a whole number from 0 to 730; it is 731",
        ),
        ("monthly_cents = 3000\nrecommended = 'yes'", "plans.pro.recommended: must be true or false; it is 'yes'"),
        (
            "monthly_cents = 3000\noverage.storage.cents_per_1000 = 5",
            "plans.pro.overage.storage: there is no meter of that name",
        ),
        (
            "monthly_cents = 3000\noverage.events.cents_per_1000 = 0.5",
            "plans.pro.overage.events.cents_per_1000: must be a whole number of cents; it is 0.5",
        ),
        ("", "plans: exactly one plan must have no price, the one that everybody starts with; there is free, pro"),
    ],
    "[plans.free]": [
        (
            "[plans.free]\nmonthly_cents = 100",
            "plans: exactly one plan must have no price, the one that everybody starts with; there is none",
        ),
        ("[plans.free]\ntrial_days = 14", "plans.free.trial_days: a plan without a price needs no trial"),
        ("[plans.free]\nretired = true", "plans.free.retired: everybody starts with the free plan"),
        (
            "[plans.free]\noverage.events.cents_per_1000 = 5",
            "plans.free.overage.events: a plan without a price is not billed",
        ),
    ],
    "limits = { events = 100 }": [
        ("limits = { events = -2 }", "plans.pro.limits.events: must be a whole number from -1 to 1000000000; it is -2"),
        (
            "limits = { events = -1 }\noverage.events.cents_per_1000 = 5",
            "plans.pro.overage.events: needs limits.events",
        ),
        ("", "plans.pro.limits: events is missing, which other plans limit; -1 is unlimited, 0 is none"),
        ("limits = 3", "plans.pro.limits: must be a table; it is 3"),
    ],
    'features = ["history"]': [
        ('features = ["hystory"]', "plans.pro.features: 'hystory' is not under [features]; there are history"),
        ('features = ["history", "history"]', "plans.pro.features: 'history' is listed twice"),
        ('features = ["members"]', "plans.pro: the feature members needs limits.members"),
        ('features = "history"', "plans.pro.features: must be a list of words; it is 'history'"),
    ],
    'name = "Pro"': [
        ("", "plans.pro.name: is missing"),
        ('name = " "', "plans.pro.name: must not be empty"),
        ("name = 7", "plans.pro.name: must be text; it is 7"),
    ],
    "[plans.pro]": [
        ("[plans.Pro]", "plans.Pro: must be named in small letters, digits and _"),
        ("[plans.credits_5]", "packs.credits_5: a plan has this key too; rename one"),
    ],
    "[packs.credits_5]": [
        ("[packs.pro_monthly]", "pro_monthly: two prices have this key; rename a plan or a pack"),
    ],
    "credits = 5\n": [
        ("", "packs.credits_5.credits: is missing"),
        ("credits = 0\n", "packs.credits_5.credits: must be a whole number from 1 to 1000000000; it is 0"),
    ],
    "amount_cents = 500": [
        ("", "packs.credits_5.amount_cents: is missing"),
        (
            "amount_cents = 100000000",
            "packs.credits_5.amount_cents: must be a whole number of cents from 1 to 99999999",
        ),
    ],
    'name = "small"': [
        ('name = "Small one"', "name: must be small letters, digits and _, beginning with a letter; it is 'Small one'"),
        ('name = "small"\ncurrency = "US$"', "currency: must be three small letters such as usd; it is 'US$'"),
        (
            'name = "small"\npolicies.low_balance_credits = -1',
            "policies.low_balance_credits: must be a whole number from 0",
        ),
        ('name = "small"\npolicies.grace = 1', "policies.grace: is not a key of the catalogue"),
        ('name = "small"\nplan = 1', "plan: is not a key of the catalogue; did you mean 'plans'?"),
        ('name = "small"\ncosts.page = "one"', "costs.page: must be a whole number; it is 'one'"),
        ('name = "small', "Illegal character"),
    ],
    "[meters.events]": [
        (
            '[meters.copies]\nname = "Copies"\nevent_name = "events"\n[meters.events]',
            "meters: two meters count the event 'events'",
        ),
    ],
}


CASES = [(good, bad, message) for good, cases in MALFORMED.items() for bad, message in cases]


@pytest.mark.parametrize(("good", "bad", "message"), CASES, ids=[message[:60] for _, _, message in CASES])
def test_a_malformed_file_is_refused_with_its_name_and_the_key(
    tmp_path: Path, good: str, bad: str, message: str
) -> None:
    assert SMALL.count(good) == 1
    said = problems_of(tmp_path, SMALL.replace(good, bad))
    assert f"catalog.toml: {message}" in said


def test_what_is_retired_is_known_and_not_for_sale(tmp_path: Path) -> None:
    text = SMALL.replace("monthly_cents = 3000", "monthly_cents = 3000\nretired = true").replace(
        "amount_cents = 500", "amount_cents = 500\nretired = true"
    )
    found = read(tmp_path, text)
    assert [plan.key for plan in found.plans_for_sale] == ["free"]
    assert found.packs_for_sale == ()
    for key in ("pro_monthly", "credits_5"):
        assert found.offer(key).is_retired
        with pytest.raises(UnknownOffer):
            found.for_sale(key)
    assert read(tmp_path, SMALL).for_sale("pro_monthly").key == "pro"


def test_a_plan_that_nobody_can_choose_is_not_recommended(tmp_path: Path) -> None:
    text = SMALL.replace("monthly_cents = 3000", "monthly_cents = 3000\nretired = true\nrecommended = true")
    assert "plans.pro.retired: a plan that nobody can choose cannot be recommended" in problems_of(tmp_path, text)


def test_two_products_never_share_an_id(tmp_path: Path) -> None:
    more = '\n[plans.pro_events]\nname = "Both"\nlimits.events = 1\nmonthly_cents = 1'
    text = SMALL.replace("monthly_cents = 3000", "monthly_cents = 3000\noverage.events.cents_per_1000 = 5") + more
    assert "plans.pro_events: the overage of another plan has this key too" in problems_of(tmp_path, text)


def test_only_one_plan_can_be_recommended(tmp_path: Path) -> None:
    more = '\n[plans.team]\nname = "Team"\nlimits.events = 1\nmonthly_cents = 1\nrecommended = true'
    text = SMALL.replace("monthly_cents = 3000", "monthly_cents = 3000\nrecommended = true") + more
    assert "catalog.toml: plans: only one plan can be recommended; there are pro, team" in problems_of(tmp_path, text)


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = SMALL.replace("amount_cents = 500", "amount_cents = 'five'").replace('name = "Pro"', "nme = 1")
    assert problems_of(tmp_path, text).splitlines() == [
        "catalog.toml: plans.pro.nme: is not a key of the catalogue; did you mean 'name'?",
        "catalog.toml: plans.pro.name: is missing",
        "catalog.toml: packs.credits_5.amount_cents: must be a whole number of cents; it is 'five'",
    ]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00", b"[plans"])
def test_a_file_that_is_no_toml_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=r"^mine\.toml: "):
        catalog.load(str(path))


def test_a_folder_is_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="nor a file that can be read"):
        catalog.load(str(tmp_path))
