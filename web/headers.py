"""What every response tells the browser to refuse, and the requests that are refused because another site sent them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Flask, Response, abort, g, request, session

from config import Config
from web import request_ids

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

STRIPE_PAGES = ("https://checkout.stripe.com", "https://billing.stripe.com", "https://invoice.stripe.com")
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
# Called by machines of others on purpose; they prove themselves by signature, and no cookie counts there.
FOREIGN_PATHS = ("/webhooks/",)
TWO_YEARS = 63_072_000

FIXED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Permitted-Cross-Domain-Policies": "none",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=()",
}


def init_app(app: Flask) -> None:
    """Check where unsafe requests come from, and complete every response, errors and files included."""
    config: Config = app.config["TOLLGATE"]
    fixed = {**FIXED, "Content-Security-Policy": content_security_policy(config)}
    if config.is_https:
        fixed["Strict-Transport-Security"] = f"max-age={TWO_YEARS}; includeSubDomains"

    @app.before_request
    def refuse_other_sites() -> None:
        if request.method not in SAFE_METHODS and is_from_another_site():
            abort(403, "This form was sent from another site. Open the page here and try again.")

    @app.after_request
    def forbid_copies(response: Response) -> Response:
        if request.endpoint != "static":
            if "Vary" in response.headers:
                response.vary.add("Cookie")
            else:
                response.headers["Vary"] = "Cookie"
            caching = "no-store" if is_personal() else "private, no-cache"
            response.headers.setdefault("Cache-Control", caching)
        return response

    app.wsgi_app = Completing(app.wsgi_app, fixed)  # type: ignore[method-assign]


class Completing:
    """Adds the fixed headers, and the name of the request, to what leaves the app, whoever made it.

    Here a response is a plain list; through Flask's own header objects the same costs ten times as much.
    """

    def __init__(self, inner: WSGIApplication, fixed: Mapping[str, str]) -> None:
        self._inner = inner
        self._fixed = [(name.lower(), (name, value)) for name, value in fixed.items()]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""

        def start(status: str, given: list[tuple[str, str]], *trouble: Any) -> Callable[[bytes], object]:
            names = {name.lower() for name, _ in given}
            given += [header for name, header in self._fixed if name not in names]
            given.append((request_ids.HEADER, request_ids.of(environ)))
            return start_response(status, given, *trouble)

        return self._inner(environ, start)


def content_security_policy(config: Config, **more: str) -> str:
    """Return the policy of a page: own files only, no inline code, forms to ourselves and to Stripe's pages.

    Browsers apply form-action to the redirect that follows a form, hence Stripe's hosts. `more` adds directives, with
    underscores for hyphens.
    """
    form_targets = ["'self'", *STRIPE_PAGES]
    if config.stripe_api_base:
        parts = urlsplit(config.stripe_api_base)
        form_targets.append(f"{parts.scheme}://{parts.netloc}")
    directives = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "manifest-src": "'self'",
        "form-action": " ".join(form_targets),
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "object-src": "'none'",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    text = "; ".join(f"{name} {value}" for name, value in directives.items())
    return f"{text}; upgrade-insecure-requests" if config.is_https else text


def is_from_another_site() -> bool:
    """Tell whether the browser says that another site made it send this request; old browsers say nothing.

    This stands behind the CSRF token, not in its place. Whoever brings an API key is let through: a key is sent on
    purpose and never by a browser of its own accord. A call to the API by cookie is a form like any other.
    """
    if g.get("is_program", False) or request.path.startswith(FOREIGN_PATHS):
        return False
    return request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}


def is_personal() -> bool:
    """Tell whether this response may hold something of one person: then nothing may keep a copy of it."""
    user = g.get("_login_user")
    return (user is not None and user.is_authenticated) or session.modified
