"""Billing Portal sessions and configurations."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors, ids, objects
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]
REASONS = [
    "too_expensive",
    "missing_features",
    "switched_service",
    "unused",
    "other",
]
# How long the portal lets people pause where a configuration does not say: the documented default.
A_MONTH = {"type": "interval_options", "interval_options": [{"interval": "month", "interval_count": 1}]}
FLOW_DETAILS = (
    "customer_update",
    "subscription_cancel",
    "subscription_pause",
    "subscription_update",
    "subscription_update_confirm",
)


@route("POST", "/v1/billing_portal/configurations")
def create_configuration(world: World, params: Document) -> Document:
    document = _new_configuration(world, params)
    return world.add(document, "billing_portal.configuration.created")


def _new_configuration(world: World, params: Document, *, is_default: bool = False) -> Document:
    profile = params.get("business_profile") or {}
    login = (params.get("login_page") or {}).get("enabled", False)
    configuration_id = ids.new("billing_portal.configuration")
    return objects.new(
        world,
        "billing_portal.configuration",
        id=configuration_id,
        active=True,
        business_profile={
            name: profile.get(name) or None for name in ("headline", "privacy_policy_url", "terms_of_service_url")
        },
        default_return_url=params.get("default_return_url") or None,
        features=_features(world, params.get("features") or {}),
        is_default=is_default,
        login_page={
            "enabled": login,
            "url": f"{world.sandbox.base_url}/p/login/{configuration_id}" if login else None,
        },
        metadata=check_metadata(params.get("metadata")),
        name=params.get("name") or None,
        updated=world.now,
    )


def _features(world: World, given: Document) -> Document:
    """Return the features of a configuration complete, with Stripe's defaults for what was not given."""
    customer, cancel = given.get("customer_update") or {}, given.get("subscription_cancel") or {}
    change, pause = given.get("subscription_update") or {}, given.get("subscription_pause") or {}
    reason = cancel.get("cancellation_reason") or {}
    schedule = change.get("schedule_at_period_end") or {}
    mode = cancel.get("mode", "at_period_end")
    return {
        "customer_update": {
            "allowed_updates": customer.get("allowed_updates") or [],
            "enabled": customer.get("enabled", False),
        },
        "invoice_history": {"enabled": (given.get("invoice_history") or {}).get("enabled", False)},
        "payment_method_update": {
            "enabled": (given.get("payment_method_update") or {}).get("enabled", False),
            "payment_method_configuration": None,
        },
        "subscription_cancel": {
            "cancellation_reason": {
                "enabled": reason.get("enabled", False),
                "options": reason.get("options") or REASONS,
            },
            "enabled": cancel.get("enabled", False),
            "mode": mode,
            "proration_behavior": cancel.get("proration_behavior", "none"),
        },
        "subscription_pause": {"enabled": pause.get("enabled", False), "duration": _pause_duration(pause)},
        "subscription_update": {
            "billing_cycle_anchor": change.get("billing_cycle_anchor"),
            "default_allowed_updates": change.get("default_allowed_updates") or [],
            "enabled": change.get("enabled", False),
            "products": [_allowed_product(world, wanted) for wanted in change.get("products") or []],
            "proration_behavior": change.get("proration_behavior", "none"),
            "schedule_at_period_end": {"conditions": schedule.get("conditions") or []},
            "trial_update_behavior": change.get("trial_update_behavior", "end_trial"),
        },
    }


def _pause_duration(pause: Document) -> Document:
    given = pause.get("duration")
    return {**given, "interval_options": given.get("interval_options") or []} if given else A_MONTH


def _allowed_product(world: World, wanted: Document) -> Document:
    where = "features[subscription_update][products][0]"
    world.get("product", wanted["product"], param=f"{where}[product]")
    for price in wanted.get("prices") or []:
        world.get("price", price, param=f"{where}[prices][0]")
    adjustable = wanted.get("adjustable_quantity") or {}
    return {
        "adjustable_quantity": {
            "enabled": adjustable.get("enabled", False),
            "maximum": adjustable.get("maximum"),
            "minimum": adjustable.get("minimum", 1),
        },
        "prices": wanted.get("prices") or [],
        "product": wanted["product"],
    }


@route("GET", "/v1/billing_portal/configurations/{configuration}")
def retrieve_configuration(world: World, params: Document, configuration: str) -> Document:
    return world.get("billing_portal.configuration", configuration)


@route("POST", "/v1/billing_portal/configurations/{configuration}")
def update_configuration(world: World, params: Document, configuration: str) -> Document:
    document = world.get("billing_portal.configuration", configuration)
    if params.get("active") is False and document["is_default"]:
        raise errors.invalid("You cannot deactivate the default configuration.", "active")
    set_fields(document, params, ("active", "default_return_url", "name"))
    if params.get("business_profile"):
        set_fields(document["business_profile"], params["business_profile"], tuple(params["business_profile"]))
    for name, given in (params.get("features") or {}).items():
        merged = {**document["features"][name], **given}
        document["features"][name] = _features(world, {name: merged})[name]
    if params.get("login_page"):
        enabled = params["login_page"]["enabled"]
        url = f"{world.sandbox.base_url}/p/login/{document['id']}" if enabled else None
        document["login_page"] = {"enabled": enabled, "url": url}
    merge_metadata(document, params)
    document["updated"] = world.now
    return world.save(document, "billing_portal.configuration.updated")


@route("GET", "/v1/billing_portal/configurations")
def list_configurations(world: World, params: Document) -> Document:
    return page(
        world,
        "billing_portal.configuration",
        params,
        "/v1/billing_portal/configurations",
        match=lambda one: all(one[name] == params[name] for name in ("active", "is_default") if name in params),
    )


def default_configuration(world: World) -> Document:
    """Return the account's default configuration; the sandbox has one from the start, with everything switched on."""
    for configuration in world.select("billing_portal.configuration"):
        if configuration["is_default"]:
            return configuration
    features = {
        "customer_update": {"enabled": True, "allowed_updates": ["email", "address", "phone", "tax_id", "name"]},
        "invoice_history": {"enabled": True},
        "payment_method_update": {"enabled": True},
        "subscription_cancel": {"enabled": True, "cancellation_reason": {"enabled": True, "options": REASONS}},
    }
    return world.add(_new_configuration(world, {"features": features}, is_default=True))


@route("POST", "/v1/billing_portal/sessions")
def create_session(world: World, params: Document) -> Document:
    if not params.get("customer"):
        raise errors.parameter_missing("customer")
    customer = world.get("customer", params["customer"], param="customer")
    if params.get("configuration"):
        configuration = world.get("billing_portal.configuration", params["configuration"], param="configuration")
        if not configuration["active"]:
            raise errors.invalid("This configuration is not active.", "configuration")
    else:
        configuration = default_configuration(world)
    if params.get("return_url") and not params["return_url"].startswith(("http://", "https://")):
        raise errors.invalid("Not a valid URL", "return_url", code="url_invalid")
    session_id = ids.new("billing_portal.session")
    session = objects.new(
        world,
        "billing_portal.session",
        id=session_id,
        configuration=configuration["id"],
        customer=customer["id"],
        flow=_flow(world, customer, configuration, params.get("flow_data")),
        locale=params.get("locale"),
        return_url=params.get("return_url") or configuration["default_return_url"],
        url=f"{world.sandbox.base_url}/p/session/{session_id}",
    )
    if params.get("after_expiration"):
        session["after_expiration"] = params["after_expiration"]
    return world.add(session, "billing_portal.session.created")


def _flow(world: World, customer: Document, configuration: Document, given: Document | None) -> Document | None:
    if not given:
        return None
    kind = given["type"]
    after = given.get("after_completion") or {"type": "portal_homepage"}
    flow: Document = {
        "after_completion": {
            "hosted_confirmation": after.get("hosted_confirmation"),
            "redirect": after.get("redirect"),
            "type": after["type"],
        },
        "type": kind,
    }
    flow.update(dict.fromkeys(FLOW_DETAILS))
    if not kind.startswith("subscription_"):
        return flow
    details = given.get(kind)
    if not details:
        raise errors.parameter_missing(f"flow_data[{kind}]")
    subscription = world.get("subscription", details["subscription"], param=f"flow_data[{kind}][subscription]")
    if subscription["customer"] != customer["id"]:
        raise errors.no_such("subscription", details["subscription"], param=f"flow_data[{kind}][subscription]")
    feature = configuration["features"]["subscription_update" if "update" in kind else kind]
    if not feature["enabled"]:
        raise errors.invalid(
            f"This subscription cannot be changed because the {kind.removesuffix('_confirm')} feature in the portal "
            "configuration is disabled.",
            "flow_data",
        )
    flow[kind] = _flow_details(kind, details)
    return flow


def _flow_details(kind: str, details: Document) -> Document:
    shown = {"subscription": details["subscription"]}
    if kind == "subscription_cancel":
        retention = details.get("retention")
        shown["retention"] = retention and {"coupon_offer": retention.get("coupon_offer"), "type": retention["type"]}
    if kind == "subscription_update_confirm":
        if len(details["items"]) != 1:
            raise errors.invalid("You must pass exactly one item.", "flow_data[subscription_update_confirm][items]")
        names = ("id", "price", "quantity")
        shown["items"] = [{name: item.get(name) for name in names} for item in details["items"]]
        wanted = details.get("discounts")
        shown["discounts"] = wanted and [
            {name: one.get(name) for name in ("coupon", "promotion_code")} for one in wanted
        ]
    return shown
