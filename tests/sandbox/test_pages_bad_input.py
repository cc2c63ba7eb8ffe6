"""Whatever a form or an address holds, a page answers in words: never with a 500."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from werkzeug.routing import Rule

from tests.sandbox import shop

VALUES = (
    "",
    "x" * 5000,
    "-1",
    "0",
    "1e999",
    "nan",
    "\x00",
    "%_'",
    "☃",
    "null",
    "[]",
    "2026-13-45",
    "\uff14\uff12",
    b"\xff\xfe",
)
NAMES = """
action by days to what mode share times seconds path types url amount sure keep card_number card_expiry card_cvc email
saved_card promotion_code price quantity feedback comment tax_id_type tax_id_value test_card address_country
billing_name terms per_second back subscription q kind before type state endpoint failed done
""".split()  # noqa: SIM905 - a list of forty words reads better so
ACTIONS = ("refund", "dispute", "inquiry", "win", "lose", "expire_card", "expire_session", "pay", "cancel", "portal")
ACTIONS += ("roll", "toggle", "resend", "apply_code", "remove_code", "complete", "fail", "remove", "default", "")
ROUNDS = 20


@pytest.fixture
def known(sandbox, client, goods) -> dict[str, list[str]]:
    """Return values for the parts of addresses: those of things that exist, and nonsense."""
    sandbox.add_webhook("http://127.0.0.1:9/hook", "whsec_known")
    sandbox.pay(shop.checkout(client, goods).url)
    sandbox.pay(shop.checkout(client, goods, "subscription").url)
    sandbox._webhooks.clear()
    session = shop.checkout(client, goods, allow_promotion_codes=True, tax_id_collection={"enabled": True}).id
    portal = client.v1.billing_portal.sessions.create({"customer": goods.customer}).id
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": 1795219200}).id
    invoice = client.v1.invoices.list().data[0].hosted_invoice_url.rsplit("/", 1)[-1]
    ids = [row["id"] for row in sandbox.store.rows("SELECT id FROM objects WHERE kind != 'event'")]
    sent = [row["id"] for row in sandbox.store.rows("SELECT id FROM deliveries LIMIT 3")]
    ids += [session, portal, clock, invoice, "nothing", "☃", "x" * 300]
    return {"": ids, "session_id": [session, portal, *ids[:2]], "token": [invoice], "delivery_id": sent}


def pages(sandbox) -> Iterator[Rule]:
    for rule in sandbox.app.url_map.iter_rules():
        if not rule.rule.startswith(("/v1", "/v2", "/sandbox", "/assets", "/dashboard/reset")):
            yield rule


@pytest.mark.parametrize("seed", range(3))
def test_no_page_breaks_whatever_it_is_given(sandbox, known, seed):
    chance = random.Random(seed)  # noqa: S311 - input, not secrets
    browser, urls = sandbox.browser(), sandbox.app.url_map.bind("127.0.0.1")
    for rule in pages(sandbox):
        for _ in range(ROUNDS):
            method = chance.choice(sorted(rule.methods & {"GET", "POST"}))
            parts = {name: chance.choice(known.get(name, known[""])) for name in rule.arguments}
            path = urls.build(rule.endpoint, parts, method=method)
            given = {name: chance.choice(VALUES) for name in chance.sample(NAMES, 10)}
            given["action"] = chance.choice(ACTIONS)
            sent = {"data": given} if method == "POST" else {"query_string": given}
            answer = browser.open(path, method=method, **sent)
            assert answer.status_code < 500, (method, path, given)
