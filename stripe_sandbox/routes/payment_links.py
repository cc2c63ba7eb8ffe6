"""Payment links: an address that makes a checkout session for whoever opens it."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors, ids, objects
from stripe_sandbox.engine import checkout
from stripe_sandbox.objects import rendering
from stripe_sandbox.pagination import page, page_of
from stripe_sandbox.routes import checkout as checkout_routes
from stripe_sandbox.routes import route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]
SETTINGS = (
    "allow_promotion_codes",
    "billing_address_collection",
    "customer_creation",
    "inactive_message",
    "payment_method_collection",
    "submit_type",
)


@route("POST", "/v1/payment_links")
def create(world: World, params: Document) -> Document:
    if not params["line_items"]:
        raise errors.parameter_missing("line_items")
    items = [checkout_routes.new_item(world, wanted, n) for n, wanted in enumerate(params["line_items"])]
    prices = [world.get("price", item["price"]) for item in items]
    if len({price["currency"] for price in prices}) > 1:
        raise errors.invalid("All line items must have the same currency.", "line_items")
    recurring = any(price["recurring"] for price in prices)
    link_id = ids.new("payment_link")
    link = objects.new(
        world,
        "payment_link",
        id=link_id,
        active=True,
        after_completion=_after(params),
        allow_promotion_codes=False,
        automatic_tax={"enabled": False, "liability": None},
        billing_address_collection="auto",
        consent_collection=_consent(params.get("consent_collection")),
        currency=prices[0]["currency"],
        custom_fields=[],
        custom_text=dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")),
        customer_creation="always" if recurring else "if_required",
        invoice_creation=_invoice_creation(params) if not recurring else None,
        metadata=check_metadata(params.get("metadata")),
        payment_intent_data=_intent_data(params.get("payment_intent_data")),
        payment_method_collection="always",
        phone_number_collection={"enabled": (params.get("phone_number_collection") or {}).get("enabled", False)},
        restrictions=_restrictions(params.get("restrictions")),
        shipping_options=[],
        submit_type="auto",
        subscription_data=_subscription_data(params.get("subscription_data")) if recurring else None,
        tax_id_collection={"required": "never", "enabled": False, **(params.get("tax_id_collection") or {})},
        url=f"{world.sandbox.base_url}/b/{link_id}",
        _line_items=items,
    )
    set_fields(link, params, SETTINGS)
    return world.add(link, "payment_link.created")


def _after(params: Document) -> Document:
    wanted = params.get("after_completion") or {"type": "hosted_confirmation"}
    if wanted["type"] == "redirect":
        if not wanted.get("redirect"):
            raise errors.parameter_missing("after_completion[redirect]")
        return {"redirect": wanted["redirect"], "type": "redirect"}
    message = (wanted.get("hosted_confirmation") or {}).get("custom_message")
    return {"hosted_confirmation": {"custom_message": message}, "type": "hosted_confirmation"}


def _consent(given: Document | None) -> Document | None:
    empty = dict.fromkeys(("payment_method_reuse_agreement", "promotions", "terms_of_service"))
    return {**empty, **given} if given else None


def _invoice_creation(params: Document) -> Document:
    shown = checkout_routes.invoice_creation(params)
    return {"enabled": shown["enabled"], "invoice_data": shown["invoice_data"]}


def _intent_data(given: Document | None) -> Document | None:
    if not given:
        return None
    names = ("capture_method", "description", "setup_future_usage", "statement_descriptor")
    more = ("statement_descriptor_suffix", "transfer_group")
    return {**{name: given.get(name) for name in (*names, *more)}, "metadata": check_metadata(given.get("metadata"))}


def _restrictions(given: Document | None) -> Document | None:
    return {"completed_sessions": {"count": 0, "limit": given["completed_sessions"]["limit"]}} if given else None


def _subscription_data(given: Document | None) -> Document:
    given = given or {}
    return {
        "description": given.get("description"),
        "invoice_settings": {"issuer": {"type": "self"}},
        "metadata": check_metadata(given.get("metadata")),
        "trial_period_days": given.get("trial_period_days"),
        "trial_settings": given.get("trial_settings"),
    }


@route("GET", "/v1/payment_links/{link}")
def retrieve(world: World, params: Document, link: str) -> Document:
    return world.get("payment_link", link)


@route("POST", "/v1/payment_links/{link}")
def update(world: World, params: Document, link: str) -> Document:
    document = world.get("payment_link", link)
    set_fields(document, params, ("active", *SETTINGS))
    if params.get("after_completion"):
        document["after_completion"] = _after(params)
    for wanted in params.get("line_items") or []:
        item = next((item for item in document["_line_items"] if item["id"] == wanted["id"]), None)
        if item is None:
            raise errors.no_such("line item", wanted["id"], param="line_items[0][id]")
        item["quantity"] = wanted.get("quantity", item["quantity"])
    merge_metadata(document, params)
    return world.save(document, "payment_link.updated")


@route("GET", "/v1/payment_links")
def list_all(world: World, params: Document) -> Document:
    return page(
        world,
        "payment_link",
        params,
        "/v1/payment_links",
        match=lambda link: "active" not in params or link["active"] == params["active"],
    )


@route("GET", "/v1/payment_links/{link}/line_items")
def line_items(world: World, params: Document, link: str) -> Document:
    document = world.get("payment_link", link)
    return page_of(_priced(world, document), params, f"/v1/payment_links/{link}/line_items")


def _priced(world: World, link: Document) -> list[Document]:
    pretend = {"_line_items": link["_line_items"], "_subscription_data": None, "discounts": []}
    checkout.price_items(world, pretend)
    items: list[Document] = link["_line_items"]
    return items


def open_session(world: World, link: Document) -> Document:
    """Make the checkout session of somebody who opens an active link."""
    recurring = link["subscription_data"] is not None
    after = link["after_completion"]
    done = f"{world.sandbox.base_url}/checkout/c/pay/{{CHECKOUT_SESSION_ID}}"
    items = [{"price": item["price"], "quantity": item["quantity"]} for item in link["_line_items"]]
    wanted: Document = {
        "mode": "subscription" if recurring else "payment",
        "line_items": [{name: value for name, value in item.items() if value is not None} for item in items],
        "success_url": after["redirect"]["url"] if after["type"] == "redirect" else done,
        "metadata": dict(link["metadata"]),
        "allow_promotion_codes": link["allow_promotion_codes"],
        "billing_address_collection": link["billing_address_collection"],
        "tax_id_collection": link["tax_id_collection"],
    }
    if recurring:
        wanted["subscription_data"] = {name: value for name, value in link["subscription_data"].items() if value}
        wanted["payment_method_collection"] = link["payment_method_collection"]
    else:
        wanted["submit_type"] = link["submit_type"]
        wanted["customer_creation"] = link["customer_creation"]
        if link["payment_intent_data"]:
            wanted["payment_intent_data"] = {name: v for name, v in link["payment_intent_data"].items() if v}
    session = checkout_routes.create(world, wanted)
    session["payment_link"] = link["id"]
    return world.save(session)


@rendering.on_demand("payment_link", "line_items")
def _show_items(world: World, link: Document) -> Document:
    shown = [rendering.render(world, item) for item in _priced(world, link)]
    return rendering.listing(f"/v1/payment_links/{link['id']}/line_items", shown[:100])
