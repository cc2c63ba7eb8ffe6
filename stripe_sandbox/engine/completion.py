"""What comes into being when a checkout session completes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox.engine import (
    customers,
    discounts,
    drafting,
    invoice_items,
    invoicing,
    methods,
    subscriptions,
)

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


def trial_end_of(world: World, session: Document) -> int | None:
    """Return when the trial that a session offers would end if it were completed now; None without a trial."""
    wanted = session["_subscription_data"] or {}
    if wanted.get("trial_period_days"):
        return int(world.now + wanted["trial_period_days"] * 86400)
    return wanted.get("trial_end")


def settle_customer(world: World, session: Document, intent: Document | None = None) -> Document | None:
    """Make the session's customer when it needs one and has none, and put it on the intent."""
    contact = session["_contact"]
    customer = world.find("customer", session["customer"])
    wants = session["mode"] != "payment" or session["customer_creation"] == "always"
    saves = bool((session["_payment_intent_data"] or {}).get("setup_future_usage"))
    if customer is None and (wants or saves):
        customer = customers.create(
            world,
            {
                "email": contact.get("email"),
                "name": contact.get("name"),
                "phone": contact.get("phone"),
                "address": contact.get("address"),
            },
        )
        session["customer"] = customer["id"]
        world.save(session)
    if customer is not None and intent is not None and intent["customer"] is None:
        intent["customer"] = customer["id"]
        world.save(intent)
    return customer


def complete(world: World, session: Document, intent: Document | None) -> Document:
    customer = settle_customer(world, session)
    contact, method = session["_contact"], world.find("payment_method", session["_method"])
    session["customer_details"] = {
        "address": {**methods.NO_ADDRESS, **(contact.get("address") or {"country": "US"})},
        "business_name": None,
        "email": contact.get("email"),
        "individual_name": None,
        "name": contact.get("name"),
        "phone": contact.get("phone"),
        "tax_exempt": customer["tax_exempt"] if customer else "none",
        "tax_ids": contact.get("tax_ids") or [],
    }
    if customer is not None:
        _update_customer(world, session, customer, contact)
    if session["mode"] == "subscription" and customer is not None:
        _subscribe(world, session, customer, intent, method)
    elif session["mode"] == "payment":
        _paid_once(world, session, customer, intent, method)
    else:
        session["payment_status"] = "no_payment_required"
    session.update(status="complete", url=None, _challenge=None)
    if session["consent_collection"] and session["consent_collection"].get("terms_of_service") == "required":
        session["consent"] = {"promotions": None, "terms_of_service": "accepted"}
    world.unschedule("checkout.expire", session)
    world.save(session)
    world.emit("checkout.session.completed", session)
    return session


def _update_customer(world: World, session: Document, customer: Document, contact: Document) -> None:
    update = session["_customer_update"] or {}
    if update.get("name") == "auto" and contact.get("name"):
        customer["name"] = contact["name"]
    if update.get("address") == "auto" and contact.get("address"):
        customer["address"] = {**methods.NO_ADDRESS, **contact["address"]}
    customer["email"] = customer["email"] or contact.get("email")
    for tax_id in contact.get("tax_ids") or []:
        customers.add_tax_id(world, customer, tax_id["type"], tax_id["value"])
    world.save(customer, "customer.updated")


def _paid_once(
    world: World, session: Document, customer: Document | None, intent: Document | None, method: Document | None
) -> None:
    redeemed = _redeem(world, session, customer)
    session["payment_status"] = "paid" if intent else "no_payment_required"
    saves = bool((session["_payment_intent_data"] or {}).get("setup_future_usage"))
    if customer is not None and method is not None and saves:
        methods.attach(world, method, customer)
    if session["invoice_creation"] and session["invoice_creation"]["enabled"] and customer is not None:
        invoice = _invoice_items(world, session, customer, redeemed, intent)
        session["invoice"] = invoice["id"]


def _invoice_items(
    world: World, session: Document, customer: Document, redeemed: list[Document], intent: Document | None
) -> Document:
    wanted = session["_invoice_data"] or {}
    invoice = drafting.draft(
        world,
        customer,
        [_one_time_line(world, session, item, customer) for item in session["_line_items"]],
        billing_reason="manual",
        currency=session["currency"],
        discounts=redeemed,
        description=wanted.get("description"),
        footer=wanted.get("footer"),
        custom_fields=wanted.get("custom_fields"),
        metadata=wanted.get("metadata") or {},
        _paid_by=intent["id"] if intent else None,
    )
    return invoicing.finalize(world, invoice)


def _one_time_line(world: World, session: Document, item: Document, customer: Document) -> Document:
    price = world.get("price", item["price"])
    made = invoice_items.create(world, customer, price=price, quantity=item["quantity"], event=None)
    return invoice_items.line_for(world, made)


def _subscribe(
    world: World, session: Document, customer: Document, intent: Document | None, method: Document | None
) -> None:
    wanted = session["_subscription_data"] or {}
    if method is not None:
        methods.attach(world, method, customer)
    recurring: list[Document] = []
    once: list[Document] = []
    for item in session["_line_items"]:
        price = world.get("price", item["price"])
        entry = {"price": price, "quantity": item["quantity"], "metadata": item.get("_metadata")}
        (recurring if price["type"] == "recurring" else once).append(entry if price["type"] == "recurring" else item)
    trial_end = trial_end_of(world, session)
    more = {name: wanted[name] for name in ("metadata", "description") if wanted.get(name)}
    if wanted.get("trial_settings"):
        more["trial_settings"] = {
            "end_behavior": {"billing_cycle_anchor": "now", **wanted["trial_settings"]["end_behavior"]}
        }
    subscription = subscriptions.new(
        world,
        customer,
        recurring,
        anchor=wanted.get("billing_cycle_anchor"),
        trial_end=trial_end,
        status="trialing" if trial_end else "active",
        default_payment_method=method["id"] if method else None,
        **more,
    )
    redeemed = _redeem(world, session, customer, subscription=subscription["id"])
    subscription["discounts"] = [discount["id"] for discount in redeemed]
    if customer["currency"] is None:
        customer["currency"] = session["currency"]
        world.save(customer, "customer.updated")
    subscriptions.start(world, subscription)
    invoice = subscriptions.first_invoice(
        world,
        subscription,
        pending=False,
        extra_lines=[_one_time_line(world, session, item, customer) for item in once],
        _paid_by=intent["id"] if intent and intent["object"] == "payment_intent" else None,
    )
    paid = intent is not None and intent["object"] == "payment_intent"
    session.update(
        invoice=invoice["id"] if invoice else None,
        payment_status="paid"
        if paid or (invoice and not trial_end and invoice["total"] == 0)
        else "no_payment_required",
        subscription=subscription["id"],
    )


def _redeem(
    world: World, session: Document, customer: Document | None, *, subscription: str | None = None
) -> list[Document]:
    made = []
    for wanted in session["discounts"] or []:
        if any(wanted.values()):
            coupon, code = discounts.coupon_of(world, wanted)
            made.append(
                discounts.redeem(
                    world,
                    coupon,
                    code,
                    customer=customer,
                    subscription=subscription,
                    checkout_session=session["id"],
                )
            )
    return made
