"""`flask stripe ...`: each operation says what it will do, asks, does it once, and shows the result."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from tests.persons import sign_up
from tests.worlds import Stripe


def run(app: Flask, words: str, *more: str, answer: str = "") -> Result:
    return app.test_cli_runner().invoke(args=["stripe", *words.split(), *more], input=answer)


def done(app: Flask, words: str, *more: str) -> Any:
    """Run a command without questions and return Stripe's words."""
    result = run(app, words, *more, "--json", *([] if " list" in f" {words}" or words == "balance" else ["--yes"]))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_products_and_prices_are_made_and_listed(app: Flask, stripe: Stripe) -> None:
    product = done(app, "products create Workshop --description Half-a-day")
    price = done(app, f"prices create {product['id']} --amount-cents 9900 --interval month --lookup-key workshop")
    assert (price["unit_amount"], price["recurring"]["interval"], price["lookup_key"]) == (9900, "month", "workshop")
    assert [p["id"] for p in done(app, f"prices list --product {product['id']}")] == [price["id"]]
    assert product["id"] in [p["id"] for p in done(app, "products list --limit 100")]
    table = run(app, f"prices list --product {product['id']}").output.splitlines()
    assert table[0].split() == ["Id", "Amount", "Every", "Lookup", "key", "Product", "Active"]
    assert table[1].split()[:4] == [price["id"], "$99.00", "month", "workshop"]


def test_customers_are_made_once_per_key_and_found(app: Flask, stripe: Stripe) -> None:
    made = [done(app, "customers create jo@example.com --name Jo --key once") for _ in range(2)]
    assert made[0]["id"] == made[1]["id"]
    found = done(app, "customers list --email jo@example.com")
    assert [customer["name"] for customer in found] == ["Jo"]
    assert run(app, "customers list --email nobody@example.com").output == "Nothing there.\n"


def test_a_payment_link_can_be_paid(app: Flask, stripe: Stripe) -> None:
    product = done(app, "products create Workshop")
    price = done(app, f"prices create {product['id']} --amount-cents 9900")
    result = run(app, f"payment-links create {price['id']} --quantity 2 --yes")
    link = stripe.api.v1.payment_links.list().data[0]
    assert link.url in result.output
    assert "Create a payment link for 2 x" in result.output


def test_an_invoice_is_drafted_filled_finalized_and_listed(app: Flask, stripe: Stripe) -> None:
    customer = done(app, "customers create jo@example.com")["id"]
    draft = done(app, f"invoices create {customer} --days-until-due 14 --description Training")
    assert draft["status"] == "draft"
    item = f"invoices add-item {draft['id']} --customer {customer} --amount-cents 50000 --description Training"
    done(app, item)
    final = done(app, f"invoices finalize {draft['id']}")
    assert (final["status"], final["total"]) == ("open", 50000)
    listed = run(app, f"invoices list --customer {customer}").output
    assert "$500.00" in listed
    assert "open" in listed


def test_coupons_take_off_a_share_or_an_amount(app: Flask, stripe: Stripe) -> None:
    share = done(app, "coupons create --percent-off 20 --duration repeating --months 3 --name Autumn")
    amount = done(app, "coupons create --amount-off-cents 500")
    assert (share["percent_off"], share["duration_in_months"], amount["amount_off"]) == (20.0, 3, 500)
    listed = run(app, "coupons list").output
    assert "Autumn" in listed
    assert "$5.00" in listed
    for wrong in ("", "--percent-off 20 --amount-off-cents 500", "--percent-off 20 --months 3"):
        refused = run(app, f"coupons create {wrong} --yes")
        assert refused.exit_code == 1
        assert refused.output.startswith("Error: ")
    assert len(stripe.api.v1.coupons.list().data) == 2


def test_a_subscription_is_listed_changed_and_ended(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    stripe.settle()
    (listed,) = done(app, "subscriptions list --status active")
    pro = stripe.api.v1.prices.list({"lookup_keys": ["cv_pro_monthly"]}).data[0].id
    changed = done(app, f"subscriptions update {listed['id']} --price {pro}")
    assert [item["price"]["id"] for item in changed["items"]["data"]] == [pro]
    assert changed["items"]["data"][0]["quantity"] == 1
    stripe.settle()
    assert ann.balance_of("plan") == 3 + 50
    assert done(app, f"subscriptions update {listed['id']} --ends-at-period-end")["cancel_at_period_end"] is True
    assert done(app, f"subscriptions update {listed['id']} --goes-on")["cancel_at_period_end"] is False
    assert run(app, f"subscriptions update {listed['id']} --yes").exit_code == 1
    assert done(app, f"subscriptions cancel {listed['id']}")["status"] == "canceled"
    stripe.settle()
    assert "free plan" in ann.client.get("/billing").text.lower()


def test_a_refund_takes_its_credits_along(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"))
    stripe.settle()
    (intent,) = done(app, "payment-intents list")
    charge = intent["latest_charge"]
    done(app, f"refunds create {charge} --amount-cents 1000 --reason duplicate")
    stripe.settle()
    assert ann.balance_of("purchase") == 15
    done(app, f"refunds create {charge}")
    stripe.settle()
    assert ann.balance_of("purchase") == 0
    assert {part["id"] for part in done(app, "balance")} == {"available", "pending"}


def test_a_refund_of_an_invoice_warns_and_names_the_way_to_a_credit_note(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    (intent,) = done(app, "payment-intents list")
    charge, invoice = intent["latest_charge"], stripe.sandbox_object("invoice")["id"]
    asked = run(app, f"refunds create {charge}", answer="n\n")
    assert f"Warning: {charge} paid the invoice {invoice}." in asked.stderr
    assert f"http://127.0.0.1:5000/admin/payments/{charge}/refund" in asked.stderr
    assert stripe.api.v1.refunds.list({}).data == []
    stripe.pay(ann.checkout("credits_5"))
    stripe.settle()
    pack = done(app, "payment-intents list")[0]["latest_charge"]
    assert "Warning" not in run(app, f"refunds create {pack}", answer="n\n").stderr


def test_a_dispute_is_listed_and_answered(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"), "4000000000000259")
    stripe.settle()
    (listed,) = done(app, "disputes list")
    draft = done(app, f"disputes update {listed['id']} --evidence", "uncategorized_text=Used at once = yes")
    assert draft["evidence"]["uncategorized_text"] == "Used at once = yes"
    assert draft["status"] == "needs_response"
    assert run(app, f"disputes update {listed['id']} --yes --evidence nonsense=1").exit_code == 1
    sent = done(app, f"disputes update {listed['id']} --submit --evidence customer_name=Ann")
    assert sent["status"] == "under_review"


@pytest.mark.parametrize("answer", ["n\n", "", "\n"])
def test_without_a_yes_nothing_is_done(app: Flask, stripe: Stripe, answer: str) -> None:
    result = run(app, "customers create jo@example.com", answer=answer)
    assert result.exit_code == 1
    assert "Create the customer jo@example.com at Stripe" in result.output
    assert stripe.api.v1.customers.list().data == []
    assert run(app, "customers create jo@example.com", answer="y\n").exit_code == 0


def test_a_live_key_needs_a_word_more(app: Flask, stripe: Stripe) -> None:
    config = app.config["TOLLGATE"]
    app.config["TOLLGATE"] = dataclasses.replace(config, stripe_secret_key="sk_live_made_up")
    try:
        for words in ("customers list", "customers create jo@example.com --yes", "balance"):
            refused = run(app, words)
            assert refused.exit_code == 1
            assert "--live" in refused.output
        assert run(app, "customers list --live").exit_code == 0
    finally:
        app.config["TOLLGATE"] = config


def test_a_refusal_of_stripe_is_a_line_and_no_traceback(app: Flask, stripe: Stripe) -> None:
    refused = run(app, "invoices finalize in_unknown --yes")
    assert refused.exit_code == 1
    assert "Traceback" not in refused.output
    stripe.sandbox.break_api("500", times=9, path="/v1/customers")
    assert run(app, "customers list").exit_code == 1
    stripe.sandbox.heal()


def test_every_command_is_on_its_page(app: Flask) -> None:
    page = (Path(app.root_path) / "docs" / "operations.md").read_text()
    groups = app.cli.commands["stripe"].commands  # type: ignore[attr-defined]
    named = [name for name, group in groups.items() if not hasattr(group, "commands")]
    named += [f"{name} {command}" for name, group in groups.items() for command in getattr(group, "commands", {})]
    assert len(named) == 21
    for command in named:
        assert f"flask stripe {command}" in page, command
