"""The sandbox's own address space, `/sandbox/...`: what the command line and end-to-end tests steer a server by.

Not part of Stripe's API. Requests carry an API key in the `Authorization` header like any other, so that no web page
can steer a sandbox behind its owner's back. Bodies and answers are JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request

from stripe_sandbox import api, deliveries, errors, ids
from stripe_sandbox.engine import account_settings
from stripe_sandbox.routes import webhook_endpoints
from stripe_sandbox.sandbox import Sandbox

blueprint = Blueprint("control", __name__, url_prefix="/sandbox")
MAX_ADVANCE_SECONDS = 10 * 366 * 86400


def _sandbox() -> Sandbox:
    found: Sandbox = current_app.extensions["sandbox"]
    return found


def steering(function: Callable[[dict[str, Any]], Any]) -> Callable[[], Any]:
    """Let a view in only with an API key, hand it the JSON body, and turn bad input into Stripe's error shape."""

    @wraps(function)
    def view() -> Response | tuple[Response, int]:
        try:
            api.authenticate(api.Request("", "", headers={"authorization": request.headers.get("Authorization", "")}))
            given = request.get_json(silent=True) or {}
            if not isinstance(given, dict):
                raise errors.invalid("The body must be a JSON object.")
            return jsonify(function(given))
        except errors.StripeError as error:
            return jsonify(error.body()), error.status
        except (TypeError, ValueError) as error:
            return jsonify(errors.invalid(f"Invalid request: {error}.").body()), 400

    return view


@blueprint.get("/state", endpoint="state")
@steering
def state(given: dict[str, Any]) -> dict[str, Any]:
    """Tell the time, the faults, and how many webhooks wait."""
    sandbox = _sandbox()
    waiting = sandbox.store.row("SELECT count(*) AS n FROM deliveries WHERE state = 'pending'")
    return {
        "now": sandbox.clock.now(),
        "offset": sandbox.clock.offset,
        "faults": sandbox.faults.saved(),
        "pending_deliveries": waiting["n"] if waiting else 0,
        "violations": sandbox.violations[-100:],
    }


@blueprint.post("/advance", endpoint="advance")
@steering
def advance(given: dict[str, Any]) -> dict[str, Any]:
    """Move time forward by `seconds`."""
    seconds = float(given.get("seconds", 0))
    if not 0 <= seconds <= MAX_ADVANCE_SECONDS:
        raise errors.invalid("`seconds` must lie between 0 and ten years.", "seconds")
    _sandbox().advance_to(_sandbox().clock.now() + seconds)
    return {"now": _sandbox().clock.now(), "offset": _sandbox().clock.offset}


@blueprint.post("/reset", endpoint="reset")
@steering
def reset(given: dict[str, Any]) -> dict[str, Any]:
    """Forget everything but the endpoints of the command line."""
    _sandbox().reset()
    return {"reset": True}


@blueprint.post("/faults", endpoint="faults")
@steering
def faults(given: dict[str, Any]) -> dict[str, Any]:
    """Replace the faults: `{"api": [{"mode": ...}], "deliveries": [...], "requests_per_second": 0}`."""
    sandbox = _sandbox()
    sandbox.heal()
    for fault in given.get("api", []):
        sandbox.break_api(**fault)
    for fault in given.get("deliveries", []):
        sandbox.break_deliveries(**fault)
    sandbox.limit_requests(int(given.get("requests_per_second", 0)))
    return sandbox.faults.saved()


@blueprint.post("/billing", endpoint="billing")
@steering
def billing(given: dict[str, Any]) -> dict[str, Any]:
    """Change what Stripe keeps in its Dashboard: `{"retry_days": [3, 5, 7], "after_retries": "cancel", ...}`."""
    return account_settings.change(_sandbox().store, **given)


@blueprint.post("/listen", endpoint="listen")
@steering
def listen(given: dict[str, Any]) -> dict[str, Any]:
    """Make an endpoint for `url` and `events`; answers with its id and secret."""
    sandbox = _sandbox()
    with sandbox.world() as world:
        wanted = {"url": str(given["url"]), "enabled_events": list(given.get("events") or ["*"])}
        endpoint = webhook_endpoints.make(world, wanted, secret=given.get("secret") or f"whsec_{ids.token(32)}")
        return {"id": endpoint["id"], "secret": endpoint["_secrets"][0]["secret"]}


@blueprint.post("/unlisten", endpoint="unlisten")
@steering
def unlisten(given: dict[str, Any]) -> dict[str, Any]:
    """Forget an endpoint that `listen` made."""
    with _sandbox().world() as world:
        return world.delete(world.get("webhook_endpoint", str(given.get("endpoint", "")), param="endpoint"))


@blueprint.post("/roll_secret", endpoint="roll_secret")
@steering
def roll_secret(given: dict[str, Any]) -> dict[str, Any]:
    """Give `endpoint` a new secret; for `keep_seconds` (a day) the old one signs beside it."""
    with _sandbox().world() as world:
        endpoint = world.get("webhook_endpoint", str(given.get("endpoint", "")), param="endpoint")
        keep = float(given.get("keep_seconds", 86400))
        return {"secret": webhook_endpoints.roll_secret(world, endpoint, keep_seconds=keep)}


@blueprint.post("/attempts", endpoint="attempts")
@steering
def attempts(given: dict[str, Any]) -> dict[str, Any]:
    """Return the attempts at deliveries to `endpoint` since the position `after`."""
    rows = _sandbox().store.rows(
        "SELECT a.seq, a.at, a.status, a.error, d.event_id, json_extract(o.body, '$.type') AS type FROM attempts a "
        "JOIN deliveries d ON d.id = a.delivery_id LEFT JOIN objects o ON o.id = d.event_id "
        "WHERE d.endpoint_id = ? AND a.seq > ? ORDER BY a.seq LIMIT 200",
        str(given.get("endpoint", "")),
        int(given.get("after", 0)),
    )
    return {"attempts": [dict(row) for row in rows]}


@blueprint.post("/deliver", endpoint="deliver")
@steering
def deliver(given: dict[str, Any]) -> dict[str, Any]:
    """Send what is due now and wait for it: for tests of a whole server that must not sleep."""
    sandbox = _sandbox()
    sent = [
        (row["event_id"], deliveries.attempt(sandbox, row["id"], deliveries.post_over_http))
        for row in deliveries.due(sandbox)
    ]
    return {"sent": sent}
