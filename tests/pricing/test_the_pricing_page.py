"""The pricing page: everything that is sold, at its price, with what happens to credits afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from billing import access, catalog
from blueprints import pricing
from extensions import db
from tests.persons import sign_up
from tests.web.documents import Document, problems
from tests.worlds import Stripe

ONE_CLICK = "/billing/top-up/"
CHECKOUT = "/pricing/checkout/"
YEARLY = "/pricing?interval=yearly"


def read(client: FlaskClient, path: str = "/pricing") -> Document:
    answer = client.get(path)
    assert answer.status_code == 200
    document = Document(answer.get_data(as_text=True))
    assert problems(document) == []
    return document


def offered(document: Document) -> list[str]:
    """Return the price keys that the page's buttons buy, on Stripe's page or with the saved card."""
    actions = [form.attrs.get("action", "") for form in document.all("form")]
    return [action.rpartition("/")[2] for action in actions if action.startswith((CHECKOUT, ONE_CLICK))]


def cards(document: Document) -> dict[str, str]:
    """Return the words of each plan and pack by the first word of its heading."""
    found: dict[str, list[str]] = {}
    for element in document.all("h3", "p", "li", "a", "button", "span"):
        card = element.inside("article")
        if card is not None:
            found.setdefault(card.words.split(" ")[0], []).append(element.words)
    return {name: " | ".join(words) for name, words in found.items()}


@pytest.mark.parametrize("preset", list(catalog.PRESETS))
def test_every_price_of_a_preset_can_be_bought_without_a_script(
    client: FlaskClient, sell_preset: Any, preset: str
) -> None:
    sold = sell_preset(preset)
    shown = {*offered(read(client)), *offered(read(client, YEARLY))}
    assert shown == {price.key for price in sold.prices if not price.is_metered}


@pytest.mark.parametrize("preset", list(catalog.PRESETS))
def test_each_offer_says_its_amount_and_its_credits(client: FlaskClient, sell_preset: Any, preset: str) -> None:
    sold, shown = sell_preset(preset), cards(read(client))
    for plan in sold.plans:
        monthly = plan.price_for("month")
        assert f"${monthly.amount_cents // 100 if monthly else 0:,} per month" in shown[plan.name]
        assert f"{plan.credits:,} credits each month" in shown[plan.name]
    for pack in sold.packs:
        assert f"${pack.price.amount_cents / 100:,.2f}" in shown[f"{pack.credits:,}"]


def test_a_pack_says_its_price_per_credit_and_how_much_less_that_is(client: FlaskClient) -> None:
    shown = cards(read(client))
    assert "$0.50 per credit" in shown["100"]
    assert "50% less per credit" in shown["100"]
    assert "$1.00 per credit |" in shown["5"]


def test_every_line_of_a_plan_is_a_feature_or_a_limit_it_has(client: FlaskClient, sell_preset: Any) -> None:
    sell_preset("projects")
    shown = cards(read(client))
    assert "| 1 project |" in shown["Free"]
    assert "| 1,000 events a month |" in shown["Free"]
    assert "Members" not in shown["Starter"]
    assert "100,000 events a month then $0.50 per 1,000" in shown["Pro"]
    assert "Unlimited projects" in shown["Enterprise"]


def test_the_switch_to_yearly_is_a_link_and_says_what_is_saved_in_money(client: FlaskClient, sell_preset: Any) -> None:
    sell_preset("projects")
    document = read(client)
    assert "/pricing?interval=yearly" in document.links()
    assert "Paying by the year saves up to $398" in document.all("main")[0].words
    yearly = cards(read(client, YEARLY))
    assert "$490 per year" in yearly["Pro"]
    assert "Saves $98 a year." in yearly["Pro"]


def test_a_preset_without_yearly_prices_shows_no_switch(client: FlaskClient) -> None:
    assert not any("interval" in link for link in read(client).links())
    assert offered(read(client, YEARLY)) == offered(read(client))


@pytest.mark.parametrize("interval", ["", "weekly", "yearly%20", "<script>"])
def test_an_interval_that_does_not_exist_shows_the_monthly_prices(
    client: FlaskClient, sell_preset: Any, interval: str
) -> None:
    sell_preset("projects")
    assert "pro_monthly" in offered(read(client, f"/pricing?interval={interval}"))


def test_who_is_not_signed_in_is_offered_the_free_plan_by_signing_up(client: FlaskClient) -> None:
    document = read(client)
    assert [a.words for a in document.all("a") if a.words == "Start free"] == ["Start free"]
    assert not any("Your plan" in words for words in cards(document).values())


def test_who_has_no_subscription_sees_the_free_plan_as_theirs(app: Flask) -> None:
    shown = cards(read(sign_up(app).client))
    assert "Your plan" in shown["Free"]
    assert not any("Your plan" in words for name, words in shown.items() if name != "Free")


def test_a_subscriber_sees_their_plan_and_cannot_buy_a_second_one(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    document = read(ann.client)
    assert "Your plan" in cards(document)["Pro"]
    assert "Your plan" not in cards(document)["Free"]
    assert offered(document) == ["credits_5", "credits_12", "credits_30", "credits_100"]


@pytest.mark.parametrize(
    ("preset", "price_key"), [("cv", "team_monthly"), ("ai", "pro_monthly"), ("projects", "pro_yearly")]
)
def test_each_preset_is_pushed_and_sold(
    app: Flask, stripe: Stripe, sell_preset: Any, preset: str, price_key: str
) -> None:
    sold = sell_preset(preset, push=True)
    ann = sign_up(app)
    for key in (price_key, sold.packs[0].key):
        stripe.pay(ann.checkout(key))
        stripe.settle()
    with app.app_context():
        assert access.plan_of(db.session(), ann.account_id) == sold.offer(price_key)
    assert ann.balance_of("purchase") == sold.packs[0].credits


def test_a_trial_is_offered_once(app: Flask, stripe: Stripe, clock: Any, sell_preset: Any) -> None:
    sell_preset("projects", push=True)
    ann = sign_up(app)
    assert "The first 14 days are free." in cards(read(ann.client))["Starter"]
    stripe.pay(ann.checkout("starter_monthly"))
    stripe.settle()
    subscription = stripe.api.v1.subscriptions.list().data[0]
    assert subscription.status == "trialing"
    stripe.api.v1.subscriptions.cancel(subscription.id)
    stripe.settle()
    shown = cards(read(ann.client))
    assert "Choose Starter" in shown["Starter"]
    assert "free" not in shown["Starter"].lower()


def test_the_page_states_the_policies_that_are_set(app: Flask, client: FlaskClient, sell_preset: Any) -> None:
    sold = sell_preset("cv")
    policies = replace(sold.policies, plan_credit_grace_hours=24, past_due_grace_days=3)
    app.extensions["catalog"] = replace(sold, policies=policies)
    words = read(client).all("main")[0].words
    assert "can be spent for 24 more hours" in words
    assert "Your plan stays open for 3 days meanwhile" in words


def test_plans_alone_are_sold_without_a_word_about_packs(app: Flask, client: FlaskClient, sell_preset: Any) -> None:
    app.extensions["catalog"] = replace(sell_preset("cv"), packs=())
    document = read(client)
    assert "pack" not in document.all("main")[0].words.lower()
    assert offered(document) == ["basic_monthly", "pro_monthly", "team_monthly"]


def test_a_year_that_costs_more_than_twelve_months_saves_nothing() -> None:
    plan = catalog.load("projects").plan("pro")
    monthly, yearly = plan.prices
    dear = replace(plan, prices=(monthly, replace(yearly, amount_cents=13 * monthly.amount_cents)))
    assert pricing.yearly_saving(dear) == 0
    assert pricing.yearly_saving(plan) == 9800
