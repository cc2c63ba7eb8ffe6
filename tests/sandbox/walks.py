"""Walks through the API, family by family: together they call every implemented route through the official SDK."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import stripe

from stripe_sandbox.testing import Sandbox
from tests.sandbox import shop

Walk = Callable[[Sandbox, stripe.StripeClient], Any]
WALKS: dict[str, Walk] = {}
ADDRESS = {"line1": "510 Townsend St", "city": "San Francisco", "state": "CA", "postal_code": "94103", "country": "US"}
RETURN = {"return_url": "https://shop.example/back"}


def walk(function: Walk) -> Walk:
    WALKS[function.__name__] = function
    return function


def charged(client: stripe.StripeClient, card: str = "pm_card_visa", **more: Any) -> stripe.PaymentIntent:
    params: Any = {"amount": 2000, "currency": "usd", "payment_method": card, "confirm": True, **RETURN, **more}
    return client.v1.payment_intents.create(params)


@walk
def customers(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    api = client.v1.customers
    made = api.create(
        {
            "email": "jenny@example.com",
            "name": "Jenny Rosen",
            "phone": "+15555555555",
            "description": "A customer",
            "address": ADDRESS,
            "shipping": {"name": "Jenny", "address": ADDRESS},
            "metadata": {"user": "1"},
            "preferred_locales": ["en"],
            "tax_exempt": "none",
            "payment_method": "pm_card_visa",
            "tax_id_data": [{"type": "eu_vat", "value": "DE123456789"}],
            "expand": ["tax_ids", "subscriptions"],
        }
    )
    assert made.tax_ids.data[0].value == "DE123456789"
    method = api.payment_methods.list(made.id).data[0]
    assert api.payment_methods.retrieve(made.id, method.id).id == method.id
    coupon = client.v1.coupons.create({"percent_off": 10, "duration": "forever"})
    api.update(
        made.id,
        {
            "name": "Jenny Smith",
            "invoice_settings": {"default_payment_method": method.id, "footer": "Thanks"},
            "balance": -500,
            "shipping": "",
        },
    )
    assert api.retrieve(made.id).balance == -500
    with sandbox.world() as world:
        customer = world.get("customer", made.id)
        from stripe_sandbox.engine import discounts

        redeemed = discounts.redeem(world, world.get("coupon", coupon.id), None, customer=customer)
        customer["discount"] = redeemed["id"]
        world.save(customer)
    assert api.retrieve(made.id).discount.source.coupon == coupon.id
    assert api.delete_discount(made.id).deleted is True
    assert api.list({"email": "jenny@example.com", "limit": 3}).data[0].id == made.id
    assert api.search({"query": "email:'jenny@example.com' AND metadata['user']:'1'"}).data[0].id == made.id
    entry = api.balance_transactions.create(made.id, {"amount": -100, "currency": "usd", "description": "Sorry"})
    assert entry.ending_balance == -600
    assert api.balance_transactions.retrieve(made.id, entry.id).amount == -100
    api.balance_transactions.update(made.id, entry.id, {"metadata": {"a": "b"}})
    assert len(api.balance_transactions.list(made.id).data) == 2
    tax_id = api.tax_ids.create(made.id, {"type": "gb_vat", "value": "GB123456789"})
    assert api.tax_ids.retrieve(made.id, tax_id.id).country == "GB"
    assert len(api.tax_ids.list(made.id).data) == 2
    assert api.tax_ids.delete(made.id, tax_id.id).deleted is True
    assert api.delete(made.id).deleted is True


@walk
def tax_ids(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({})
    made = client.v1.tax_ids.create(
        {"type": "us_ein", "value": "12-3456789", "owner": {"type": "customer", "customer": customer.id}}
    )
    assert client.v1.tax_ids.retrieve(made.id).owner.customer == customer.id
    assert client.v1.tax_ids.list({"owner": {"type": "customer", "customer": customer.id}}).data[0].id == made.id
    assert client.v1.tax_ids.delete(made.id).deleted is True


@walk
def products_and_prices(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    products, prices = client.v1.products, client.v1.prices
    made = products.create(
        {
            "id": "prod_pro",
            "name": "Pro",
            "description": "All of it",
            "images": ["https://shop.example/pro.png"],
            "marketing_features": [{"name": "History"}],
            "metadata": {"tier": "2"},
            "unit_label": "seat",
            "url": "https://shop.example/pro",
            "default_price_data": {"currency": "usd", "unit_amount": 3000, "recurring": {"interval": "month"}},
            "expand": ["default_price"],
        }
    )
    assert made.default_price.unit_amount == 3000
    products.update(made.id, {"description": "", "active": True, "metadata": {"tier": "3"}})
    assert products.retrieve(made.id).description is None
    assert products.list({"active": True, "ids": ["prod_pro"]}).data[0].id == "prod_pro"
    assert products.search({"query": "name~'pro' AND active:'true'"}).data[0].id == "prod_pro"
    tiers = [{"up_to": 10, "unit_amount": 500}, {"up_to": "inf", "unit_amount_decimal": "12.5", "flat_amount": 100}]
    tiered = prices.create(
        {
            "product": made.id,
            "currency": "eur",
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": tiers,
            "recurring": {"interval": "year", "interval_count": 1},
            "lookup_key": "tiered",
            "nickname": "Tiered",
            "expand": ["tiers", "product"],
        }
    )
    assert tiered.tiers[1].up_to is None
    prices.update(tiered.id, {"nickname": "Old", "active": False, "metadata": {"old": "yes"}})
    assert prices.retrieve(tiered.id, {"expand": ["currency_options"]}).active is False
    other = prices.create(
        {
            "product_data": {"name": "Inline"},
            "currency": "usd",
            "unit_amount_decimal": "0.5",
            "tax_behavior": "exclusive",
            "transform_quantity": {"divide_by": 100, "round": "up"},
            "currency_options": {"eur": {"unit_amount": 100}},
        }
    )
    assert prices.list({"product": str(other.product), "type": "one_time", "currency": "usd"}).data[0].id == other.id
    assert prices.search({"query": "lookup_key:'tiered'"}).data[0].id == tiered.id
    empty = products.create({"name": "Nothing"})
    assert products.delete(empty.id).deleted is True


@walk
def discounts(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    coupons, codes = client.v1.coupons, client.v1.promotion_codes
    product = client.v1.products.create({"name": "Only this"})
    coupons.create(
        {"id": "FIVE", "amount_off": 500, "currency": "usd", "duration": "repeating", "duration_in_months": 3}
    )
    made = coupons.create(
        {
            "percent_off": 25.5,
            "duration": "once",
            "name": "Quarter",
            "max_redemptions": 10,
            "redeem_by": int(sandbox.clock.now()) + 86400,
            "applies_to": {"products": [product.id]},
            "expand": ["applies_to"],
        }
    )
    assert made.applies_to.products == [product.id]
    coupons.update("FIVE", {"name": "Five off", "metadata": {"a": "b"}})
    assert coupons.retrieve("FIVE").name == "Five off"
    assert len(coupons.list().data) == 2
    code = codes.create(
        {
            "promotion": {"type": "coupon", "coupon": "FIVE"},
            "code": "SAVE5",
            "max_redemptions": 5,
            "expires_at": int(sandbox.clock.now()) + 3600,
            "restrictions": {"minimum_amount": 1000, "minimum_amount_currency": "usd", "first_time_transaction": True},
            "expand": ["promotion.coupon"],
        }
    )
    assert code.promotion.coupon.id == "FIVE"
    codes.update(code.id, {"active": False, "metadata": {"a": "b"}})
    assert codes.retrieve(code.id).active is False
    assert codes.list({"code": "save5", "coupon": "FIVE"}).data[0].id == code.id
    assert coupons.delete(made.id).deleted is True


@walk
def payment_methods(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    api = client.v1.payment_methods
    customer = client.v1.customers.create({})
    card = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2034, "cvc": "123"}
    made = api.create(
        {"type": "card", "card": card, "billing_details": {"name": "Jenny", "address": ADDRESS}, "metadata": {"a": "b"}}
    )
    token = api.create({"type": "card", "card": {"token": "tok_mastercard"}})
    assert token.card.brand == "mastercard"
    api.attach(made.id, {"customer": customer.id})
    api.update(made.id, {"card": {"exp_year": 2036}, "billing_details": {"email": "j@example.com"}})
    assert api.retrieve(made.id).card.exp_year == 2036
    assert api.list({"customer": customer.id, "type": "card"}).data[0].id == made.id
    assert api.detach(made.id).customer is None


@walk
def setup_intents(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    api = client.v1.setup_intents
    customer = client.v1.customers.create({})
    made = api.create({"customer": customer.id, "usage": "off_session", "metadata": {"a": "b"}})
    api.update(made.id, {"description": "Save it"})
    api.confirm(made.id, {"payment_method": "pm_card_visa", **RETURN})
    assert api.retrieve(made.id, {"expand": ["latest_attempt"]}).latest_attempt.status == "succeeded"
    assert client.v1.setup_attempts.list({"setup_intent": made.id}).data[0].setup_intent == made.id
    try:
        api.create({"payment_method": "pm_card_chargeDeclined", "confirm": True, **RETURN})
        raise AssertionError("a declined card was saved")
    except stripe.CardError as declined:
        assert declined.error is not None
        assert declined.error.setup_intent.last_setup_error.code == "card_declined"
    waiting = api.create({"payment_method": "pm_card_authenticationRequiredOnSetup", "confirm": True, **RETURN})
    assert waiting.status == "requires_action"
    assert api.cancel(waiting.id, {"cancellation_reason": "abandoned"}).status == "canceled"
    assert len(api.list({"customer": customer.id}).data) == 1


@walk
def payment_intents(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    api = client.v1.payment_intents
    customer = client.v1.customers.create({})
    made = api.create(
        {
            "amount": 1000,
            "currency": "usd",
            "customer": customer.id,
            "description": "A thing",
            "metadata": {"order": "9"},
            "receipt_email": "j@example.com",
            "setup_future_usage": "off_session",
            "statement_descriptor_suffix": "THING",
            "automatic_payment_methods": {"enabled": True},
        }
    )
    api.update(made.id, {"amount": 1200, "metadata": {"order": "10"}})
    paid = api.confirm(made.id, {"payment_method": "pm_card_visa", "expand": ["latest_charge"], **RETURN})
    assert (paid.status, paid.latest_charge.amount) == ("succeeded", 1200)
    assert api.retrieve(made.id, {"expand": ["payment_method", "customer"]}).payment_method.customer == customer.id
    held = charged(client, capture_method="manual")
    assert api.capture(held.id, {"amount_to_capture": 1500}).amount_received == 1500
    again = charged(client, capture_method="manual")
    client.v1.charges.capture(str(again.latest_charge))
    third = charged(client, capture_method="manual")
    assert api.cancel(third.id, {"cancellation_reason": "requested_by_customer"}).status == "canceled"
    asked = charged(client, "pm_card_authenticationRequired")
    assert asked.next_action.type == "redirect_to_url"
    for card, code in (
        ("pm_card_chargeDeclined", "card_declined"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ):
        try:
            charged(client, card)
            raise AssertionError(f"{card} was charged")
        except stripe.CardError as declined:
            assert declined.code == code
    assert api.list({"customer": customer.id}).data[0].id == made.id
    assert api.search({"query": "metadata['order']:'10' AND amount>1000"}).data[0].id == made.id


@walk
def charges_and_refunds(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    intent = charged(client)
    charge = str(intent.latest_charge)
    client.v1.charges.update(
        charge, {"description": "Seen", "metadata": {"a": "b"}, "fraud_details": {"user_report": "safe"}}
    )
    refund = client.v1.refunds.create(
        {"charge": charge, "amount": 500, "reason": "requested_by_customer", "metadata": {"why": "late"}}
    )
    client.v1.refunds.update(refund.id, {"metadata": {"why": "broken"}})
    assert client.v1.refunds.retrieve(refund.id, {"expand": ["charge", "payment_intent"]}).charge.id == charge
    shown = client.v1.charges.retrieve(charge, {"expand": ["refunds", "balance_transaction", "payment_intent"]})
    assert (shown.refunds.data[0].id, shown.balance_transaction.amount) == (refund.id, 2000)
    pending = client.v1.refunds.create({"payment_intent": charged(client, "pm_card_pendingRefund").id})
    assert pending.status == "pending"
    sandbox.advance(hours=1)
    assert client.v1.refunds.retrieve(pending.id).status == "succeeded"
    failing = client.v1.refunds.create({"payment_intent": charged(client, "pm_card_refundFail").id})
    sandbox.advance(hours=1)
    assert client.v1.refunds.retrieve(failing.id, {"expand": ["failure_balance_transaction"]}).status == "failed"
    try:
        client.v1.refunds.cancel(failing.id)
        raise AssertionError("a failed refund was cancelled")
    except stripe.InvalidRequestError as refused:
        assert "cannot be canceled" in str(refused)
    assert len(client.v1.refunds.list({"charge": charge}).data) == 1
    assert client.v1.charges.list({"payment_intent": intent.id}).data[0].id == charge
    assert client.v1.charges.search({"query": "amount:2000 AND refunded:'false'"}).data
    client.raw_request("get", f"/v1/charges/{charge}/refunds")


@walk
def money(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    intent = charged(client, "pm_card_bypassPending")
    charged(client)
    balance = client.v1.balance.retrieve()
    assert balance.available[0].amount == 2000 - 88
    assert balance.pending[0].amount == 2000 - 88
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    transaction = client.v1.balance_transactions.retrieve(str(charge.balance_transaction), {"expand": ["source"]})
    assert (transaction.net, transaction.source.id) == (1912, charge.id)
    assert len(client.v1.balance_transactions.list({"type": "charge"}).data) == 2
    assert client.v1.accounts.retrieve_current().charges_enabled is True


@walk
def checkout_sessions(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    goods = shop.open_shop(client)
    api = client.v1.checkout.sessions
    full = shop.checkout(
        client,
        goods,
        "subscription",
        allow_promotion_codes=True,
        billing_address_collection="required",
        client_reference_id="account-7",
        consent_collection={"terms_of_service": "required"},
        custom_text={"submit": {"message": "Thank you"}},
        customer_update={"name": "auto", "address": "auto"},
        expires_at=int(sandbox.clock.now()) + 3600,
        locale="auto",
        metadata={"on": "session"},
        payment_method_collection="always",
        saved_payment_method_options={"payment_method_save": "enabled"},
        subscription_data={
            "description": "Basic",
            "metadata": {"on": "subscription"},
            "trial_period_days": 14,
            "trial_settings": {"end_behavior": {"missing_payment_method": "cancel"}},
        },
        tax_id_collection={"enabled": True},
        expand=["line_items"],
    )
    api.update(full.id, {"metadata": {"more": "yes"}})
    sandbox.pay(
        full.id,
        terms="1",
        tax_id_type="eu_vat",
        tax_id_value="DE123456789",
        address_line1="1 Street",
        address_country="DE",
        address_postal_code="10115",
        address_city="Berlin",
    )
    done = api.retrieve(full.id, {"expand": ["subscription.items", "invoice.lines", "customer.tax_ids"]})
    assert done.customer.tax_ids.data[0].value == "DE123456789"
    assert done.customer.address.city == "Berlin"
    assert done.consent.terms_of_service == "accepted"
    assert api.line_items.list(full.id, {"limit": 5}).data[0].price.id == goods.plan
    inline = api.create(
        {
            "mode": "payment",
            "success_url": "https://shop.example/ok",
            "customer_email": "guest@example.com",
            "customer_creation": "always",
            "invoice_creation": {"enabled": True, "invoice_data": {"description": "Receipt"}},
            "line_items": [
                {
                    "price_data": {"currency": "usd", "unit_amount": 700, "product_data": {"name": "One-off"}},
                    "quantity": 2,
                    "adjustable_quantity": {"enabled": True},
                }
            ],
            "payment_intent_data": {"metadata": {"on": "intent"}, "setup_future_usage": "off_session"},
            "submit_type": "donate",
        }
    )
    sandbox.pay(inline.id)
    paid = api.retrieve(inline.id, {"expand": ["invoice.payments", "payment_intent"]})
    assert (paid.amount_total, paid.invoice.status, paid.payment_intent.metadata["on"]) == (1400, "paid", "intent")
    assert api.list({"status": "complete"}).data[0].id == inline.id
    setup = shop.checkout(client, goods, "setup", currency="usd", setup_intent_data={"metadata": {"a": "b"}})
    assert api.expire(setup.id).status == "expired"


@walk
def payment_links(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    goods = shop.open_shop(client)
    api = client.v1.payment_links
    link = api.create(
        {
            "line_items": [{"price": goods.pack, "quantity": 1}],
            "metadata": {"campaign": "autumn"},
            "after_completion": {"type": "redirect", "redirect": {"url": "https://shop.example/thanks"}},
            "payment_intent_data": {"metadata": {"via": "link"}},
        }
    )
    assert sandbox.browser().get(f"/b/{link.id}").status_code == 200
    opened = sandbox.browser().post(f"/b/{link.id}")
    assert sandbox.pay(opened.location) == "https://shop.example/thanks"
    session = client.v1.checkout.sessions.list({"payment_link": link.id}).data[0]
    assert (session.payment_status, session.metadata["campaign"]) == ("paid", "autumn")
    assert api.line_items.list(link.id).data[0].amount_total == 500
    assert api.retrieve(link.id, {"expand": ["line_items"]}).line_items.data[0].price.id == goods.pack
    plan = api.create(
        {"line_items": [{"price": goods.plan, "quantity": 1}], "subscription_data": {"metadata": {"a": "b"}}}
    )
    sandbox.pay(sandbox.browser().post(f"/b/{plan.id}").location, email="link@example.com")
    assert client.v1.subscriptions.list().data[0].metadata["a"] == "b"
    api.update(link.id, {"active": False, "inactive_message": "Sold out"})
    assert sandbox.browser().post(f"/b/{link.id}").status_code == 410
    assert [one.id for one in api.list({"active": True}).data] == [plan.id]


@walk
def invoices(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    goods = shop.open_shop(client)
    api, items = client.v1.invoices, client.v1.invoice_items
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": goods.customer})
    item = items.create({"customer": goods.customer, "amount": 700, "currency": "usd", "description": "Work"})
    items.update(item.id, {"amount": 800, "metadata": {"a": "b"}})
    assert items.retrieve(item.id).amount == 800
    items.create({"customer": goods.customer, "pricing": {"price": goods.pack}, "quantity": 2})
    draft = api.create(
        {
            "customer": goods.customer,
            "pending_invoice_items_behavior": "include",
            "description": "Consulting",
            "metadata": {"job": "1"},
            "collection_method": "charge_automatically",
            "auto_advance": False,
        }
    )
    assert (draft.status, draft.total, len(draft.lines.data)) == ("draft", 1800, 2)
    assert [one.id for one in items.list({"pending": True}).data] == []
    api.add_lines(draft.id, {"lines": [{"amount": 200, "description": "Extra"}, {"pricing": {"price": goods.pack}}]})
    lines = api.line_items.list(draft.id, {"limit": 10}).data
    assert len(lines) == 4
    api.line_items.update(draft.id, lines[2].id, {"amount": 300})
    api.update_lines(draft.id, {"lines": [{"id": lines[3].id, "quantity": 2}]})
    api.remove_lines(draft.id, {"lines": [{"id": lines[0].id, "behavior": "unassign"}]})
    changed = api.update(draft.id, {"footer": "Thank you", "metadata": {"job": "2"}})
    assert changed.total == 1000 + 300 + 1000
    final = api.finalize_invoice(draft.id, {"expand": ["confirmation_secret", "payments"]})
    assert final.confirmation_secret.client_secret
    assert final.hosted_invoice_url.startswith("http")
    paid = api.pay(draft.id, {"payment_method": method.id, "expand": ["payments.data.payment.payment_intent"]})
    assert (paid.status, paid.payments.data[0].payment.payment_intent.status) == ("paid", "succeeded")
    payment = client.v1.invoice_payments.list({"invoice": draft.id}).data[0]
    assert client.v1.invoice_payments.retrieve(payment.id, {"expand": ["invoice"]}).invoice.id == draft.id
    found = client.v1.invoice_payments.list(
        {"payment": {"type": "payment_intent", "payment_intent": str(payment.payment.payment_intent)}}
    )
    assert found.data[0].invoice == draft.id
    assert api.retrieve(draft.id, {"expand": ["customer"]}).customer.id == goods.customer
    assert api.search({"query": "metadata['job']:'2'"}).data[0].id == draft.id
    for verb in (api.void_invoice, api.mark_uncollectible):
        items.create({"customer": goods.customer, "amount": 900, "currency": "usd"})
        other = api.create({"customer": goods.customer, "pending_invoice_items_behavior": "include"})
        api.finalize_invoice(other.id)
        assert verb(other.id).status in ("void", "uncollectible")
    items.create({"customer": goods.customer, "amount": 900, "currency": "usd"})
    sent = api.create(
        {
            "customer": goods.customer,
            "collection_method": "send_invoice",
            "days_until_due": 7,
            "pending_invoice_items_behavior": "include",
        }
    )
    assert api.send_invoice(sent.id).status == "open"
    intent = client.v1.payment_intents.create(
        {
            "amount": sent.amount_due,
            "currency": "usd",
            "customer": goods.customer,
            "payment_method": method.id,
            "confirm": True,
            **RETURN,
        }
    )
    assert api.attach_payment(sent.id, {"payment_intent": intent.id}).status == "paid"
    assert {one.status for one in api.list({"customer": goods.customer}).data} == {"paid", "void", "uncollectible"}
    unwanted = items.create({"customer": goods.customer, "amount": 1, "currency": "usd"})
    assert items.delete(unwanted.id).deleted is True
    assert api.delete(api.create({"customer": goods.customer}).id).deleted is True


@walk
def portal(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    goods = shop.open_shop(client)
    subscription = shop.subscribe(client, goods)
    configurations, sessions = client.v1.billing_portal.configurations, client.v1.billing_portal.sessions
    made = configurations.create(
        {
            "business_profile": {"headline": "Your plan", "privacy_policy_url": "https://shop.example/privacy"},
            "features": {
                "customer_update": {"enabled": True, "allowed_updates": ["email", "address"]},
                "invoice_history": {"enabled": True},
                "payment_method_update": {"enabled": True},
                "subscription_cancel": {
                    "enabled": True,
                    "mode": "at_period_end",
                    "cancellation_reason": {"enabled": True, "options": ["too_expensive", "other"]},
                },
                "subscription_update": {
                    "enabled": True,
                    "default_allowed_updates": ["price"],
                    "products": [{"product": goods.product, "prices": [goods.plan]}],
                    "proration_behavior": "always_invoice",
                    "schedule_at_period_end": {"conditions": [{"type": "decreasing_item_amount"}]},
                },
            },
            "default_return_url": "https://shop.example/billing",
        }
    )
    configurations.update(made.id, {"features": {"invoice_history": {"enabled": False}}, "metadata": {"a": "b"}})
    assert configurations.retrieve(made.id).features.invoice_history.enabled is False
    assert made.id in [one.id for one in configurations.list({"active": True}).data]
    plain = sessions.create({"customer": goods.customer, "return_url": "https://shop.example/"})
    assert plain.url.startswith("http")
    for kind, details in (
        ("payment_method_update", None),
        ("subscription_cancel", {"subscription": subscription.id}),
        ("subscription_update", {"subscription": subscription.id}),
        (
            "subscription_update_confirm",
            {
                "subscription": subscription.id,
                "items": [{"id": subscription.items.data[0].id, "price": goods.plan, "quantity": 2}],
            },
        ),
    ):
        flow: Any = {
            "type": kind,
            "after_completion": {"type": "redirect", "redirect": {"return_url": "https://shop.example/done"}},
        }
        if details:
            flow[kind] = details
        opened = sessions.create({"customer": goods.customer, "configuration": made.id, "flow_data": flow})
        assert opened.flow.type == kind


@walk
def entitlements(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    goods = shop.open_shop(client)
    features, active = client.v1.entitlements.features, client.v1.entitlements.active_entitlements
    made = features.create({"lookup_key": "history", "name": "History", "metadata": {"a": "b"}})
    features.update(made.id, {"name": "Full history"})
    assert features.retrieve(made.id).name == "Full history"
    assert features.list({"lookup_key": "history"}).data[0].id == made.id
    link = client.v1.products.features.create(goods.product, {"entitlement_feature": made.id})
    assert client.v1.products.features.retrieve(goods.product, link.id).entitlement_feature.lookup_key == "history"
    assert len(client.v1.products.features.list(goods.product).data) == 1
    subscription = shop.subscribe(client, goods)
    held = active.list({"customer": goods.customer, "expand": ["data.feature"]}).data
    assert [one.lookup_key for one in held] == ["history"]
    assert active.retrieve(held[0].id).lookup_key == "history"
    client.v1.subscriptions.cancel(subscription.id)
    assert active.list({"customer": goods.customer}).data == []
    changes = sandbox.events("entitlements.active_entitlement_summary.updated")
    assert [len(one["data"]["object"]["entitlements"]["data"]) for one in changes] == [1, 0]
    assert client.v1.products.features.delete(goods.product, link.id).deleted is True


@walk
def events_and_endpoints(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    api = client.v1.webhook_endpoints
    made = api.create(
        {
            "url": "https://shop.example/webhooks",
            "enabled_events": ["customer.created", "invoice.paid"],
            "api_version": stripe.api_version,
            "description": "The shop",
            "metadata": {"a": "b"},
        }
    )
    assert made.secret.startswith("whsec_")
    client.v1.customers.create({})
    event = client.v1.events.list({"types": ["customer.created"], "delivery_success": False}).data[0]
    assert client.v1.events.retrieve(event.id).pending_webhooks == 1
    api.update(made.id, {"enabled_events": ["*"], "disabled": True, "url": "https://shop.example/other"})
    assert api.retrieve(made.id).status == "disabled"
    assert len(api.list().data) == 1
    assert api.delete(made.id).deleted is True


@walk
def subscriptions(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    goods = shop.open_shop(client)
    api, items = client.v1.subscriptions, client.v1.subscription_items
    coupon = client.v1.coupons.create({"percent_off": 50, "duration": "forever"})
    made = shop.subscribe(
        client,
        goods,
        description="Basic",
        discounts=[{"coupon": coupon.id}],
        metadata={"account": "7"},
        off_session=True,
        payment_behavior="error_if_incomplete",
        payment_settings={"save_default_payment_method": "on_subscription"},
        proration_behavior="create_prorations",
        trial_settings={"end_behavior": {"missing_payment_method": "cancel"}},
        expand=["latest_invoice.payments", "latest_invoice.confirmation_secret", "discounts", "customer"],
    )
    assert (made.status, made.latest_invoice.total) == ("active", 750)
    api.update(made.id, {"metadata": {"account": "8"}, "description": "", "cancel_at_period_end": True})
    assert api.retrieve(made.id).cancel_at == made.items.data[0].current_period_end
    api.update(made.id, {"cancel_at_period_end": False})
    assert api.delete_discount(made.id).deleted is True
    more = client.v1.prices.create(
        {"product": goods.product, "currency": "usd", "unit_amount": 3000, "recurring": {"interval": "month"}}
    )
    preview = client.v1.invoices.create_preview(
        {
            "customer": goods.customer,
            "subscription": made.id,
            "subscription_details": {
                "items": [{"id": made.items.data[0].id, "price": more.id}],
                "proration_behavior": "always_invoice",
            },
        }
    )
    assert preview.amount_due == 3000 - 750  # Flexible billing credits what was paid, after the discount of then.
    api.update(
        made.id,
        {
            "items": [{"id": made.items.data[0].id, "price": more.id}],
            "proration_behavior": "always_invoice",
            "payment_behavior": "pending_if_incomplete",
        },
    )
    added = items.create({"subscription": made.id, "price": goods.plan, "quantity": 2})
    items.update(added.id, {"quantity": 3, "metadata": {"a": "b"}})
    assert items.retrieve(added.id).quantity == 3
    assert len(items.list({"subscription": made.id}).data) == 2
    assert items.delete(added.id).deleted is True
    assert api.pause(made.id, {"type": "subscription"}).status == "paused"
    assert api.resume(made.id, {"billing_cycle_anchor": {"type": "now"}}).status == "active"
    classic = shop.subscribe(client, goods, billing_mode={"type": "classic"})
    assert api.migrate(classic.id, {"billing_mode": {"type": "flexible"}}).billing_mode.type == "flexible"
    assert api.search({"query": "status:'active' AND metadata['account']:'8'"}).data[0].id == made.id
    gone = api.cancel(classic.id, {"cancellation_details": {"comment": "Bye", "feedback": "unused"}})
    assert gone.cancellation_details.feedback == "unused"
    assert [one.id for one in api.list({"customer": goods.customer, "status": "ended"}).data] == [classic.id]
    assert [one.id for one in api.list({"price": more.id}).data] == [made.id]


@walk
def meters(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    api = client.v1.billing.meters
    made = api.create(
        {
            "display_name": "Calls",
            "event_name": "calls",
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
        }
    )
    api.update(made.id, {"display_name": "API calls"})
    assert api.retrieve(made.id).display_name == "API calls"
    assert api.list({"status": "active"}).data[0].id == made.id
    assert api.deactivate(made.id).status == "inactive"
    assert api.reactivate(made.id).status == "active"


@walk
def schedules(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    goods = shop.open_shop(client)
    api = client.v1.subscription_schedules
    cheaper = client.v1.prices.create(
        {"product": goods.product, "currency": "usd", "unit_amount": 900, "recurring": {"interval": "month"}}
    )
    subscription = shop.subscribe(client, goods)
    made = api.create({"from_subscription": subscription.id})
    phase = made.phases[0]
    changed = api.update(
        made.id,
        {
            "end_behavior": "release",
            "metadata": {"why": "downgrade"},
            "phases": [
                {
                    "items": [{"price": goods.plan, "quantity": 1}],
                    "start_date": phase.start_date,
                    "end_date": phase.end_date,
                },
                {
                    "items": [{"price": cheaper.id, "quantity": 1}],
                    "duration": {"interval": "month", "interval_count": 1},
                    "proration_behavior": "none",
                },
            ],
        },
    )
    assert len(changed.phases) == 2
    assert api.retrieve(made.id, {"expand": ["subscription"]}).subscription.schedule == made.id
    sandbox.advance(days=32)
    assert client.v1.subscriptions.retrieve(subscription.id).items.data[0].price.id == cheaper.id
    assert api.release(made.id).status == "released"
    later = api.create(
        {
            "customer": goods.customer,
            "start_date": int(sandbox.clock.now()) + 86400,
            "end_behavior": "cancel",
            "phases": [
                {
                    "items": [{"price": goods.plan, "quantity": 1}],
                    "duration": {"interval": "month", "interval_count": 2},
                }
            ],
        }
    )
    assert later.status == "not_started"
    assert api.cancel(later.id).status == "canceled"
    assert {one.id for one in api.list({"customer": goods.customer}).data} == {made.id, later.id}


@walk
def disputes(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    api = client.v1.disputes
    charge = str(charged(client, "pm_card_createDispute").latest_charge)
    made = api.list({"charge": charge}).data[0]
    api.update(made.id, {"evidence": {"uncategorized_text": "Proof"}, "submit": False, "metadata": {"case": "1"}})
    assert api.retrieve(made.id, {"expand": ["charge", "payment_intent"]}).charge.disputed is True
    assert api.close(made.id).status == "lost"
    winning = str(charged(client, "pm_card_createDispute").latest_charge)
    other = api.list({"charge": winning}).data[0]
    api.update(other.id, {"evidence": {"uncategorized_text": "winning_evidence"}, "submit": True})
    sandbox.advance(days=90)
    assert api.retrieve(other.id).status == "won"


@walk
def files(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    invoice = BytesIO(b"%PDF-1.7 An invoice")
    invoice.name = "invoice.pdf"
    made = client.v1.files.create({"purpose": "dispute_evidence", "file": invoice})
    assert (made.filename, made.type, made.size) == ("invoice.pdf", "pdf", 19)
    assert client.v1.files.retrieve(made.id).purpose == "dispute_evidence"
    assert [file.id for file in client.v1.files.list({"purpose": "dispute_evidence"}).data] == [made.id]
    assert client.v1.files.list({"purpose": "business_logo"}).data == []
    dispute = client.v1.disputes.list({"charge": str(charged(client, "pm_card_createDispute").latest_charge)}).data[0]
    kept = client.v1.disputes.update(dispute.id, {"evidence": {"receipt": made.id}, "submit": False})
    assert kept.evidence.receipt == made.id
    shown = client.v1.disputes.retrieve(dispute.id, {"expand": ["evidence.receipt"]})
    assert shown.evidence.receipt.id == made.id


@walk
def early_fraud_warnings(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    api = client.v1.radar.early_fraud_warnings
    charge = str(charged(client, "pm_card_createIssuerFraudRecord").latest_charge)
    made = api.list({"charge": charge}).data[0]
    assert made.actionable is True
    assert api.retrieve(made.id, {"expand": ["charge", "payment_intent"]}).charge.id == charge
    client.v1.refunds.create({"charge": charge, "amount": 500})
    assert api.retrieve(made.id).actionable is True
    client.v1.refunds.create({"charge": charge})
    assert api.retrieve(made.id).actionable is False
    assert [event["data"]["object"]["actionable"] for event in sandbox.events("radar.early_fraud_warning.updated")] == [
        False
    ]


@walk
def credit_notes(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    goods = shop.open_shop(client)
    api = client.v1.credit_notes
    subscription = shop.subscribe(client, goods, expand=["latest_invoice"])
    invoice = subscription.latest_invoice
    line = invoice.lines.data[0]
    wanted: Any = {
        "invoice": invoice.id,
        "lines": [{"type": "invoice_line_item", "invoice_line_item": line.id, "quantity": 1, "amount": 500}],
        "refund_amount": 500,
    }
    wanted["lines"][0].pop("quantity")
    preview = api.preview(wanted)
    assert preview.total == 500
    assert api.preview_lines.list(wanted).data[0].amount == 500
    made = api.create({**wanted, "reason": "product_unsatisfactory", "memo": "Sorry", "metadata": {"a": "b"}})
    api.update(made.id, {"memo": "Very sorry"})
    assert api.retrieve(made.id, {"expand": ["invoice", "customer"]}).invoice.id == invoice.id
    assert api.line_items.list(made.id).data[0].amount == 500
    assert api.list({"invoice": invoice.id}).data[0].id == made.id
    client.v1.invoice_items.create({"customer": goods.customer, "amount": 2000, "currency": "usd"})
    bill = client.v1.invoices.create({"customer": goods.customer, "pending_invoice_items_behavior": "include"})
    client.v1.invoices.finalize_invoice(bill.id)
    note = api.create({"invoice": bill.id, "amount": 700})
    assert client.v1.invoices.retrieve(bill.id).amount_remaining == 1300
    assert api.void_credit_note(note.id).status == "void"


@walk
def test_clocks(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    api = client.v1.test_helpers.test_clocks
    start = int(sandbox.clock.now())
    clock = api.create({"frozen_time": start, "name": "A year"})
    customer = client.v1.customers.create({"test_clock": clock.id, "payment_method": "pm_card_visa"})
    goods = shop.open_shop(client)
    goods.customer = customer.id
    subscription = shop.subscribe(client, goods)
    assert api.advance(clock.id, {"frozen_time": start + 40 * 86400}).status in ("advancing", "ready")
    assert api.retrieve(clock.id).status == "ready"
    assert len(client.v1.invoices.list({"subscription": subscription.id}).data) == 2
    assert api.list().data[0].id == clock.id
    assert api.delete(clock.id).deleted is True
    assert client.v1.customers.retrieve(customer.id).deleted is True


@walk
def usage(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    goods = shop.open_shop(client)
    meter = client.v1.billing.meters.create(
        {"display_name": "Words", "event_name": "words", "default_aggregation": {"formula": "sum"}}
    )
    now = int(sandbox.clock.now()) // 60 * 60
    for number, count in enumerate((3, 4)):
        client.v1.billing.meter_events.create(
            {
                "event_name": "words",
                "payload": {"stripe_customer_id": goods.customer, "value": str(count)},
                "identifier": f"use-{number}",
                "timestamp": now - 3600,
            }
        )
    client.v1.billing.meter_event_adjustments.create(
        {"event_name": "words", "type": "cancel", "cancel": {"identifier": "use-1"}}
    )
    summary = client.v1.billing.meters.event_summaries.list(
        meter.id, {"customer": goods.customer, "start_time": now - 7200, "end_time": now}
    )
    assert [one.aggregated_value for one in summary.data] == [3]
