"""Checkout sessions."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors, ids, objects
from stripe_sandbox.engine import checkout, discounts
from stripe_sandbox.pagination import page, page_of
from stripe_sandbox.routes import products, route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata
from stripe_sandbox.world import World

Document = dict[str, Any]
DAY = 86400
# Parameters that the session shows as they were given.
ECHOED = (
    "allow_promotion_codes",
    "allowed_payment_method_types",
    "billing_address_collection",
    "cancel_url",
    "client_reference_id",
    "consent_collection",
    "customer_email",
    "excluded_payment_method_types",
    "integration_identifier",
    "locale",
    "name_collection",
    "origin_context",
    "permissions",
    "phone_number_collection",
    "return_url",
    "submit_type",
    "success_url",
    "wallet_options",
)


@route("POST", "/v1/checkout/sessions")
def create(world: World, params: Document) -> Document:
    _check(world, params)
    customer = None
    if params.get("customer"):
        customer = world.get("customer", params["customer"], param="customer")
        world.follow_clock_of(customer)
    items = [new_item(world, wanted, n) for n, wanted in enumerate(params.get("line_items") or [])]
    _check_items(world, params, items)
    session_id = ids.new("checkout.session")
    mode = params["mode"]
    subscription_data = params.get("subscription_data")
    embedded = params.get("ui_mode") == "embedded_page"
    session = objects.new(
        world,
        "checkout.session",
        id=session_id,
        adaptive_pricing={"enabled": False} if mode == "payment" else None,
        automatic_tax={"enabled": False, "liability": None, "provider": None, "status": None},
        currency=items[0]["currency"] if items else params.get("currency"),
        custom_fields=[_custom_field(wanted) for wanted in params.get("custom_fields") or []],
        custom_text={
            name: (params.get("custom_text") or {}).get(name) or None
            for name in ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
        },
        customer=customer["id"] if customer else None,
        customer_creation=params.get("customer_creation", "if_required")
        if mode == "payment" and not customer
        else None,
        customer_details=_known_details(customer, params.get("customer_email")),
        discounts=_discounts(world, params, customer, items),
        expires_at=params.get("expires_at") or world.now + DAY,
        invoice_creation=invoice_creation(params) if mode == "payment" else None,
        metadata=check_metadata(params.get("metadata")),
        mode=mode,
        payment_method_collection="always"
        if mode != "subscription"
        else params.get("payment_method_collection", "always"),
        payment_method_options={"card": {"request_three_d_secure": "automatic"}},
        payment_method_types=["card"],
        payment_status="unpaid",
        shipping_options=[],
        status="open",
        ui_mode=params.get("ui_mode", "hosted_page"),
        url=None if embedded else f"{world.sandbox.base_url}/checkout/c/pay/{session_id}",
        _line_items=items,
        _subscription_data=_subscription_data(world, subscription_data),
        _payment_intent_data=_with_metadata(params.get("payment_intent_data")),
        _setup_intent_data=_with_metadata(params.get("setup_intent_data")),
        _invoice_data=(params.get("invoice_creation") or {}).get("invoice_data"),
        _customer_update=params.get("customer_update"),
        _intent=None,
        _challenge=None,
        _method=None,
        _contact={},
    )
    if embedded:
        secret = f"{session_id}_secret_{ids.token(24)}"
        session.update(client_secret=secret, redirect_on_completion=params.get("redirect_on_completion", "always"))
    for name in ECHOED:
        if name in params:
            session[name] = world.sandbox.contract.shaped("checkout.session", name, params[name])
    for collected in (session.get("name_collection") or {}).values():
        if collected:
            collected.setdefault("optional", False)
    _fill_in(session, params, customer)
    checkout.price_items(world, session)
    if mode == "setup":
        session.update(
            amount_subtotal=None, amount_total=None, total_details=None, payment_status="no_payment_required"
        )
    elif mode == "subscription" and session["amount_total"] == 0:
        session["payment_status"] = "unpaid"
    world.add(session)
    world.schedule("checkout.expire", session, session["expires_at"], clock=(customer or {}).get("test_clock") or "")
    return session


def _fill_in(session: Document, params: Document, customer: Document | None) -> None:
    """Set the fields that Stripe shows complete although the request gave them in part, or not at all."""
    if params.get("tax_id_collection"):
        wanted = params["tax_id_collection"]
        session["tax_id_collection"] = {"enabled": wanted["enabled"], "required": wanted.get("required", "never")}
    if session["consent_collection"]:
        empty = {"payment_method_reuse_agreement": None, "promotions": None, "terms_of_service": None}
        session["consent_collection"] = {**empty, **session["consent_collection"]}
    if params.get("automatic_tax"):
        session["automatic_tax"]["enabled"] = params["automatic_tax"]["enabled"]
        if params["automatic_tax"]["enabled"]:
            session["automatic_tax"].update(
                liability={"account": None, "type": "self"}, provider="stripe", status="requires_location_inputs"
            )
    if params.get("saved_payment_method_options"):
        wanted = params["saved_payment_method_options"]
        session["saved_payment_method_options"] = {
            "allow_redisplay_filters": wanted.get("allow_redisplay_filters", ["always"]),
            "payment_method_remove": wanted.get("payment_method_remove"),
            "payment_method_save": wanted.get("payment_method_save"),
        }
    elif customer is not None:
        session["saved_payment_method_options"] = {
            "allow_redisplay_filters": ["always"],
            "payment_method_remove": "disabled",
            "payment_method_save": None,
        }


def _check(world: World, params: Document) -> None:
    if not params.get("mode"):
        raise errors.parameter_missing("mode")
    mode, ui_mode = params["mode"], params.get("ui_mode", "hosted_page")
    if ui_mode == "hosted_page" and not params.get("success_url"):
        raise errors.parameter_missing("success_url")
    if ui_mode == "embedded_page":
        _check_embedded(params)
    if mode != "setup" and not params.get("line_items"):
        raise errors.parameter_missing("line_items")
    if mode == "setup" and params.get("line_items"):
        raise errors.invalid("You can not pass `line_items` in `setup` mode.", "line_items")
    for first, second in (("customer", "customer_email"), ("allow_promotion_codes", "discounts")):
        if params.get(first) and params.get(second):
            raise errors.parameters_exclusive(first, second)
    for name, only in (
        ("subscription_data", "subscription"),
        ("payment_intent_data", "payment"),
        ("setup_intent_data", "setup"),
        ("invoice_creation", "payment"),
        ("customer_creation", "payment"),
        ("payment_method_collection", "subscription"),
    ):
        if params.get(name) and mode != only:
            raise errors.invalid(f"You can not pass `{name}` in `{mode}` mode.", name)
    if params.get("customer_update") and not params.get("customer"):
        raise errors.invalid("`customer_update` can only be used with `customer`.", "customer_update")
    for name in ("success_url", "cancel_url", "return_url"):
        if params.get(name) and not params[name].startswith(("http://", "https://")):
            raise errors.invalid("Not a valid URL", name, code="url_invalid")
    expires_at = params.get("expires_at")
    if expires_at is not None and expires_at < world.now + 30 * 60 - 5:
        raise errors.invalid(
            "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.", "expires_at"
        )
    if expires_at is not None and expires_at > world.now + DAY + 5:
        raise errors.invalid(
            "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.", "expires_at"
        )
    if len(params.get("discounts") or []) > 1:
        raise errors.invalid("You may only specify one discount.", "discounts")


def _check_embedded(params: Document) -> None:
    for name in ("success_url", "cancel_url"):
        if params.get(name):
            raise errors.invalid(f"`{name}` can not be used with `ui_mode: embedded_page`: use `return_url`.", name)
    if params.get("redirect_on_completion", "always") != "never" and not params.get("return_url"):
        raise errors.parameter_missing("return_url")


def new_item(world: World, wanted: Document, position: int) -> Document:
    """Return the line item for an entry of `line_items`; raises when its price or quantity cannot be."""
    where = f"line_items[{position}]"
    if bool(wanted.get("price")) == bool(wanted.get("price_data")):
        if wanted.get("price"):
            raise errors.parameters_exclusive(f"{where}[price]", f"{where}[price_data]")
        raise errors.parameter_missing(f"{where}[price]")
    if wanted.get("price_data"):
        price = _inline_price(world, wanted["price_data"])
    else:
        price = world.get("price", wanted["price"], param=f"{where}[price]")
        if not price["active"]:
            raise errors.invalid(
                "The price specified is inactive. This field only accepts active prices.", f"{where}[price]"
            )
    metered = bool(price["recurring"] and price["recurring"]["usage_type"] == "metered")
    quantity = wanted.get("quantity")
    if quantity is None and not metered:
        raise errors.invalid("Quantity is required. Add `quantity` to `" + where + "`", f"{where}[quantity]")
    if quantity is not None and metered:
        raise errors.invalid("Quantity should not be specified where usage_type is metered.", f"{where}[quantity]")
    if quantity is not None and not 1 <= quantity <= 999999:
        raise errors.invalid(
            "This value must be greater than or equal to 1.", f"{where}[quantity]", code="parameter_invalid_integer"
        )
    item = checkout.new_item(world, price, quantity=quantity, _metadata=check_metadata(wanted.get("metadata")))
    item["metadata"] = dict(item["_metadata"])
    adjustable = wanted.get("adjustable_quantity")
    if adjustable and adjustable["enabled"]:
        item["adjustable_quantity"] = {
            "enabled": True,
            "maximum": adjustable.get("maximum", 99),
            "minimum": adjustable.get("minimum", 0),
        }
    return item


def _inline_price(world: World, data: Document) -> Document:
    """Make the price that `price_data` describes; it serves this session only and is not active."""
    if bool(data.get("product")) == bool(data.get("product_data")):
        raise errors.parameter_missing("line_items[0][price_data][product]")
    if data.get("product_data"):
        product = products.new_product(world, data["product_data"])
        world.add({**product, "active": False})
        product_id = product["id"]
    else:
        product_id = world.get("product", data["product"], param="line_items[0][price_data][product]")["id"]
    price = products.new_price(world, {**data, "active": False}, product_id)
    return world.add(price)


def _check_items(world: World, params: Document, items: list[Document]) -> None:
    prices = [world.get("price", item["price"]) for item in items]
    recurring = [price for price in prices if price["type"] == "recurring"]
    if params["mode"] == "payment" and recurring:
        raise errors.invalid(
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or "
            "use only one-time prices.",
            "line_items",
        )
    if params["mode"] == "subscription" and not recurring:
        raise errors.invalid(
            "You must provide at least one recurring price in `subscription` mode when using prices.", "line_items"
        )
    if len({price["currency"] for price in prices}) > 1:
        raise errors.invalid("All line items must have the same currency.", "line_items")
    if params["mode"] == "payment" and len(items) > 100:
        raise errors.invalid("You may only specify up to 100 line items.", "line_items")
    intervals = {(price["recurring"]["interval"], price["recurring"]["interval_count"]) for price in recurring}
    if len(intervals) > 1:
        raise errors.invalid(
            "Checkout does not currently support multiple prices with different billing intervals.", "line_items"
        )


def _subscription_data(world: World, given: Document | None) -> Document | None:
    if not given:
        return given
    if given.get("trial_period_days") is not None and given.get("trial_end") is not None:
        raise errors.parameters_exclusive("subscription_data[trial_end]", "subscription_data[trial_period_days]")
    days = given.get("trial_period_days")
    if days is not None and not 1 <= days <= 730:
        raise errors.invalid(
            "The minimum number of trial period days is 1."
            if days < 1
            else "The maximum number of trial period days is 730.",
            "subscription_data[trial_period_days]",
        )
    if given.get("trial_end") is not None and given["trial_end"] < world.now + 2 * DAY:
        raise errors.invalid(
            "The `trial_end` date has to be at least 2 days in the future.", "subscription_data[trial_end]"
        )
    return _with_metadata(given)


def _with_metadata(given: Document | None) -> Document | None:
    return None if given is None else {**given, "metadata": check_metadata(given.get("metadata"))}


def _discounts(
    world: World, params: Document, customer: Document | None, items: list[Document]
) -> list[Document] | None:
    shown = []
    for wanted in params.get("discounts") or []:
        coupon, code = discounts.coupon_of(world, wanted)
        problem = discounts.refusal(
            world,
            coupon,
            code,
            customer=customer,
            currency=items[0]["currency"],
            amount=sum(item["amount_subtotal"] for item in items),
        )
        if problem:
            raise errors.invalid(problem, "discounts")
        shown.append({"coupon": None if code else coupon["id"], "promotion_code": code["id"] if code else None})
    return shown


def _custom_field(wanted: Document) -> Document:
    kind = wanted["type"]
    field = {"key": wanted["key"], "label": {"custom": wanted["label"]["custom"], "type": "custom"}}
    field.update(optional=wanted.get("optional", False), type=kind)
    if kind == "dropdown":
        options = (wanted.get("dropdown") or {}).get("options", [])
        default = (wanted.get("dropdown") or {}).get("default_value")
        field["dropdown"] = {"default_value": default, "options": options, "value": None}
    else:
        given = wanted.get(kind) or {}
        names = ("default_value", "maximum_length", "minimum_length")
        field[kind] = {**{name: given.get(name) for name in names}, "value": None}
    return field


def _known_details(customer: Document | None, email: str | None) -> Document | None:
    if customer is None and email is None:
        return None
    known = customer or {}
    return {
        "address": known.get("address"),
        "business_name": None,
        "email": known.get("email") or email,
        "individual_name": None,
        "name": known.get("name"),
        "phone": known.get("phone"),
        "tax_exempt": known.get("tax_exempt", "none"),
        "tax_ids": None,
    }


def invoice_creation(params: Document) -> Document:
    """Return the `invoice_creation` of a request complete."""
    wanted = params.get("invoice_creation") or {}
    data = wanted.get("invoice_data") or {}
    names = ("account_tax_ids", "custom_fields", "description", "footer", "issuer", "rendering_options")
    shown = {name: data.get(name) or None for name in names}
    return {"enabled": wanted.get("enabled", False), "invoice_data": {**shown, "metadata": data.get("metadata") or {}}}


@route("GET", "/v1/checkout/sessions/{session}")
def retrieve(world: World, params: Document, session: str) -> Document:
    return world.get("checkout.session", session)


@route("POST", "/v1/checkout/sessions/{session}")
def update(world: World, params: Document, session: str) -> Document:
    document = world.get("checkout.session", session)
    merge_metadata(document, params)
    return world.save(document)


@route("POST", "/v1/checkout/sessions/{session}/expire")
def expire(world: World, params: Document, session: str) -> Document:
    document = world.get("checkout.session", session)
    if document["status"] != "open":
        raise errors.invalid(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of '
            f"`{document['status']}`."
        )
    return checkout.expire(world, document)


@route("GET", "/v1/checkout/sessions")
def list_all(world: World, params: Document) -> Document:
    names = ("customer", "payment_intent", "payment_link", "status", "subscription")
    email = (params.get("customer_details") or {}).get("email")
    return page(
        world,
        "checkout.session",
        params,
        "/v1/checkout/sessions",
        {name: params.get(name) for name in names},
        match=lambda session: not email or (session["customer_details"] or {}).get("email") == email,
    )


@route("GET", "/v1/checkout/sessions/{session}/line_items")
def line_items(world: World, params: Document, session: str) -> Document:
    document = world.get("checkout.session", session)
    return page_of(document["_line_items"], params, f"/v1/checkout/sessions/{session}/line_items")
