"""The API's front door: authentication, idempotency, validation against the contract, routing, errors.

A request is one transaction: what its handler does, the events of it and the idempotency record are committed together,
before the answer leaves.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from base64 import b64decode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import stripe

from stripe_sandbox import errors, forms, routes
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.faults import ApiFault
    from stripe_sandbox.sandbox import Sandbox

log = logging.getLogger("stripe_sandbox")
KEEP_REQUESTS = 2000
UNREACHABLE = 599  # No status of HTTP: the answer that stands for "no answer". The server drops the connection instead.
IDEMPOTENCY_SECONDS = 24 * 3600
NO_KEY = (
    "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer "
    "auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for "
    "details, or we can help at https://support.stripe.com/."
)


@dataclass
class Request:
    """An API request as it came in; header names in lower case."""

    method: str
    path: str
    query: bytes = b""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Response:
    status: int
    body: bytes
    headers: dict[str, str]


def handle(sandbox: Sandbox, request: Request) -> Response:
    """Answer a request; never raises, and changes nothing when it refuses the request itself."""
    request_id = sandbox.new_request_id()
    started = time.monotonic()
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    headers = {"Request-Id": request_id, "Stripe-Version": stripe.api_version, "Content-Type": "application/json"}
    form: dict[str, Any] = {}
    fault = sandbox.faults.hits_request(request.path)
    try:
        _suffer(sandbox, fault)
        authenticate(request)
        form = _parsed(request)
        if request.method == "POST" and request.query:
            form = {**forms.parse(request.query), **form}
        if key is None:
            status, body = _run(sandbox, request, form, request_id, None)
        else:
            headers["Idempotency-Key"] = key
            status, body = _run_once(sandbox, request, form, request_id, key, headers)
    except errors.StripeError as error:
        headers.update(error.headers)
        status, body = error.status, _encode(error.body(_log_url(sandbox, request_id)))
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        status, body = 500, _encode(_server_error().body())
    if fault is not None and fault.mode == "500_after" and status < 500:
        status, body = 500, _encode(_server_error().body())
        if key is not None:
            sandbox.store.execute("UPDATE idempotency SET status = 500, body = ? WHERE key = ?", body.decode(), key)
    if fault is not None and fault.mode.startswith("unreachable"):
        status, body = UNREACHABLE, b""
    if status == 409:
        headers["Stripe-Should-Retry"] = "true"
    _note(sandbox, request, form, request_id, key, status, body, time.monotonic() - started)
    return Response(status, body, headers)


def _parsed(request: Request) -> dict[str, Any]:
    if request.method != "POST":
        return forms.parse(request.query)
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        return forms.parse_parts(request.body, kind)
    return forms.parse(request.body)


def _suffer(sandbox: Sandbox, fault: ApiFault | None) -> None:
    """Do to a request what a fault, or the limit on requests, does before it starts."""
    if sandbox.faults.is_over_limit() or (fault is not None and fault.mode == "429"):
        raise errors.StripeError(
            "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
            status=429,
            code="rate_limit",
        )
    if fault is None:
        return
    if fault.mode == "500":
        raise _server_error()
    if fault.mode == "unreachable":
        raise errors.StripeError("", status=UNREACHABLE)
    time.sleep(fault.seconds)


def authenticate(request: Request) -> None:
    """Let any test-mode secret or restricted key in; raises Stripe's 401 for everything else."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    key = value.strip()
    if kind.lower() == "basic":
        try:
            key = b64decode(key, validate=True).decode("ascii").split(":", 1)[0]
        except ValueError:
            key = ""
    if not key:
        raise errors.StripeError(NO_KEY, status=401)
    if key.startswith(("sk_test_", "rk_test_")) and len(key) > 8:
        _check_version(request)
        return
    if key.startswith("pk_"):
        raise errors.StripeError(
            "This API call cannot be made with a publishable API key. Please use a secret API key. You can find a "
            "list of your API keys at https://dashboard.stripe.com/account/apikeys.",
            status=401,
            code="secret_key_required",
        )
    hidden = f"{key[:8]}{'*' * max(len(key) - 12, 4)}{key[-4:]}" if len(key) > 12 else "****"
    words = " The sandbox accepts test mode keys only." if key.startswith(("sk_live_", "rk_live_")) else ""
    raise errors.StripeError(f"Invalid API Key provided: {hidden}.{words}", status=401)


def _check_version(request: Request) -> None:
    wanted = request.headers.get("stripe-version", "").split(";")[0].strip()
    if wanted and wanted != stripe.api_version:
        raise errors.invalid(
            f"Invalid Stripe API version: {wanted}. The sandbox speaks {stripe.api_version}, the version of the "
            "installed SDK."
        )


def _run_once(
    sandbox: Sandbox, request: Request, form: dict[str, Any], request_id: str, key: str, headers: dict[str, str]
) -> tuple[int, bytes]:
    """Run a request under its idempotency key: the first answer is kept for 24 hours and given again."""
    if len(key) > 255:
        raise errors.invalid(
            f"Invalid Idempotency-Key: keys can be at most 255 characters long; this one has {len(key)}."
        )
    with sandbox.keys_lock:
        if key in sandbox.keys_in_use:
            raise errors.StripeError(
                "There is currently another in-progress request using this Idempotent Key (that probably means you "
                f"submitted twice, and the other request is still going through): {key}. Please try again later.",
                status=409,
                code="idempotency_key_in_use",
            )
        sandbox.keys_in_use.add(key)
    try:
        stored = _replay(sandbox, request, form, key)
        if stored is not None:
            headers["Idempotent-Replayed"] = "true"
            headers["Original-Request"] = stored["request_id"]
            return int(stored["status"]), stored["body"].encode()
        headers["Original-Request"] = request_id
        return _run(sandbox, request, form, request_id, key)
    finally:
        with sandbox.keys_lock:
            sandbox.keys_in_use.discard(key)


def _replay(sandbox: Sandbox, request: Request, form: dict[str, Any], key: str) -> Any:
    sandbox.store.execute("DELETE FROM idempotency WHERE created < ?", sandbox.clock.now() - IDEMPOTENCY_SECONDS)
    stored = sandbox.store.row("SELECT * FROM idempotency WHERE key = ?", key)
    if stored is None:
        return None
    if stored["path"] != request.path:
        raise errors.StripeError(
            "Keys for idempotent requests can only be used for the same endpoint they were first used for "
            f"('{stored['path']}' vs '{request.path}'). Try using a key other than '{key}' if you meant to execute a "
            "different request.",
            type="idempotency_error",
        )
    if stored["fingerprint"] != _fingerprint(form):
        raise errors.StripeError(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try "
            f"using a key other than '{key}' if you meant to execute a different request.",
            type="idempotency_error",
        )
    return stored


def _fingerprint(form: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()


def _run(
    sandbox: Sandbox, request: Request, form: dict[str, Any], request_id: str, key: str | None
) -> tuple[int, bytes]:
    """Validate and execute a request in one transaction that also keeps its answer under its idempotency key."""
    found, arguments, contract_route = _find(sandbox, request)
    try:
        params = sandbox.contract.coerce_request(contract_route, form) if contract_route else form
    except errors.StripeError as error:
        sandbox.note_violations(f"{request.method} {request.path}", [error.message])
        raise
    expand = params.pop("expand", None) or []
    tree = rendering.tree(expand)
    now = sandbox.clock.now()
    kept: errors.StripeError | None = None
    with sandbox.world(request={"id": request_id, "idempotency_key": key}, now=now) as world:
        try:
            result = found.handler(world, params, *arguments)
            status, shown = 200, _shown(world, result, tree)
        except errors.StripeError as error:
            if not error.keep:
                raise
            kept, status, shown = error, error.status, error.body(_log_url(sandbox, request_id))
        body = _encode(shown)
        if key is not None:
            sandbox.store.execute(
                "INSERT OR REPLACE INTO idempotency (key, fingerprint, path, status, body, request_id, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                key,
                _fingerprint(form),
                request.path,
                status,
                body.decode(),
                request_id,
                now,
            )
    if sandbox.strict and contract_route and kept is None:
        problems = sandbox.contract.check_response(contract_route, shown)
        sandbox.note_violations(f"answer to {request.method} {request.path}", problems)
    return status, body


def _find(sandbox: Sandbox, request: Request) -> tuple[routes.Route, list[str], str | None]:
    contract_route = sandbox.contract.find_route(request.method, request.path)
    matched = routes.find(request.method, request.path)
    if matched is None:
        problem = errors.not_implemented if contract_route else errors.unrecognised
        raise problem(request.method, request.path)
    return matched[0], matched[1], contract_route


def _shown(world: Any, result: dict[str, Any], tree: rendering.Tree) -> dict[str, Any]:
    if result.get("deleted") is True and set(result) == {"id", "object", "deleted"}:
        return result
    if result.get("object") in ("list", "search_result"):
        deeper = tree.get("data", {})
        if set(tree) - {"data"}:
            raise errors.invalid(
                f"This property cannot be expanded ({next(iter(set(tree) - {'data'}))}). You may want to try expanding "
                "'data' instead.",
                "expand",
            )
        return {**result, "data": [rendering.render(world, item, deeper) for item in result["data"]]}
    return rendering.render(world, result, tree)


def _encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()  # Indented JSON would take ten times as long.


def _server_error() -> errors.StripeError:
    return errors.StripeError(
        "An unknown error occurred. The sandbox's log has the details.", status=500, type="api_error"
    )


def _log_url(sandbox: Sandbox, request_id: str) -> str:
    return f"{sandbox.base_url}/dashboard/requests/{request_id}"


def _note(
    sandbox: Sandbox,
    request: Request,
    form: dict[str, Any],
    request_id: str,
    key: str | None,
    status: int,
    body: bytes,
    seconds: float,
) -> None:
    """Keep the request for the dashboard's log; reads are kept too, the oldest are dropped."""
    with sandbox.store.transaction():
        cursor = sandbox.store.execute(
            "INSERT INTO requests (id, at, method, path, params, status, response, idempotency_key, seconds) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            request_id,
            sandbox.clock.now(),
            request.method,
            request.path,
            json.dumps(_without_cards(form)),
            status,
            body.decode()[:20000],
            key,
            seconds,
        )
        sandbox.store.execute("DELETE FROM requests WHERE seq <= ?", (cursor.lastrowid or 0) - KEEP_REQUESTS)


def _without_cards(form: Any) -> Any:
    """Return parameters fit to be kept: card numbers and codes are blanked."""
    if isinstance(form, dict):
        return {
            name: "(hidden)" if name in ("number", "cvc") and isinstance(value, str) else _without_cards(value)
            for name, value in form.items()
        }
    return form
