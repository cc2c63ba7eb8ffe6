"""Who is refused at a gate and buys comes back to what they wanted; nobody is led off the site on the way."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask

from tests.billing.forms import open_form, send, submit
from tests.persons import Person, sign_up
from tests.worlds import Stripe

EVIL = ("https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)")


def path(url: str) -> str:
    return url.removeprefix("http://127.0.0.1:5000")


def buy(stripe: Stripe, ann: Person, prices: str, price_key: str, **fields: str) -> str:
    """Buy on the pricing page as it stands; return the page that Stripe leads back to."""
    url = submit(ann, prices, f"/pricing/checkout/{price_key}", **fields).location
    return str(ann.client.get(path(stripe.pay(url))).get_data(as_text=True))


def test_a_plan_bought_at_a_gate_leads_back_through_it(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    refused = ann.client.get("/cv/history?page=2")
    assert refused.status_code == 303
    page = buy(stripe, ann, refused.location, "basic_monthly")
    onward = re.search(r'href="([^"]*)">Continue to your reports<', page)
    assert onward, page
    assert onward[1] == "/cv/history?page=2"
    assert ann.client.get(onward[1]).status_code == 200


def test_who_signs_up_on_the_way_keeps_the_way(app: Flask, stripe: Stripe) -> None:
    stranger = app.test_client()
    page = stranger.get("/pricing?next=/cv").get_data(as_text=True)
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token
    answer = stranger.post(
        "/pricing/checkout/credits_5",
        data={"csrf_token": token[1], "next": "/cv"},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    order = parse_qs(urlsplit(answer.location).query)["next"][0]
    assert order == "/pricing/checkout/credits_5?next=/cv"
    assert "Continue to Check a CV" in buy(stripe, sign_up(app), order, "credits_5")


def test_the_last_click_says_where_to_go_on(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    submit(ann, "/pricing?next=/cv", "/pricing/checkout/credits_5")
    page = buy(stripe, ann, "/pricing", "credits_5")
    assert "Thank you" in page
    assert "Continue to" not in page


def test_a_change_of_plan_at_a_gate_leads_back_too(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    stripe.settle()
    prices = ann.client.get("/pricing?next=/cv/history").get_data(as_text=True)
    assert "/billing/change?to=pro_monthly&amp;next=/cv/history" in prices
    answer = submit(ann, "/billing/change?to=pro_monthly&next=/cv/history", "/billing/change")
    assert answer.location == "/cv/history"


@pytest.mark.parametrize("target", EVIL)
def test_nobody_is_led_off_the_site(app: Flask, stripe: Stripe, target: str) -> None:
    ann = sign_up(app)
    fields = {**open_form(ann, "/pricing", "/pricing/checkout/credits_5"), "next": target}
    page = ann.client.get(path(stripe.pay(send(ann, "/pricing/checkout/credits_5", fields).location)))
    assert "Thank you" in page.get_data(as_text=True)
    assert "Continue to" not in page.get_data(as_text=True)
    assert "evil" not in page.get_data(as_text=True)


def test_a_page_without_a_name_is_offered_in_general_words(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    assert "Continue to where you were" in buy(stripe, ann, "/pricing?next=/no/such/page", "credits_5")
