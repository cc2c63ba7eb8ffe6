"""What every response tells the browser to refuse, and the requests that are refused because another site sent them."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, abort, g, request, session

from config import Config

STRIPE_PAGES = ("https://checkout.stripe.com", "https://billing.stripe.com", "https://invoice.stripe.com")
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
# Called by machines of others on purpose; they prove themselves by signature or key, and send no cookies.
FOREIGN_PATHS = ("/webhooks/", "/api/")
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
    def complete(response: Response) -> Response:
        given = {name.lower() for name, _ in response.headers}
        for name, value in fixed.items():
            if name.lower() not in given:
                response.headers.add(name, value)
        if request.endpoint != "static":
            response.vary.add("Cookie")
            caching = "no-store" if is_personal() else "private, no-cache"
            response.headers.setdefault("Cache-Control", caching)
        return response


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

    This stands behind the CSRF token, not in its place.
    """
    if request.path.startswith(FOREIGN_PATHS):
        return False
    return request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}


def is_personal() -> bool:
    """Tell whether this response may hold something of one person: then nothing may keep a copy of it."""
    user = g.get("_login_user")
    return (user is not None and user.is_authenticated) or session.modified
