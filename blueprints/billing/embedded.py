"""Pay in a page of ours: Stripe's form in a frame, and Stripe's own page for whoever cannot or will not use it."""

from __future__ import annotations

from contextlib import suppress

from flask import abort, current_app, make_response, redirect, render_template, url_for
from werkzeug.wrappers import Response

from accounts.models import ADMIN
from billing import catalog, checkout, errors, gateway
from blueprints.billing.base import bp
from config import Config
from extensions import db, limiter
from web import gates, headers
from web.current import current_account

STRIPE_JS = "https://js.stripe.com"


@bp.get("/billing/pay/<intent_id>")
@gates.requires(role=ADMIN)
@limiter.limit("60 per minute")
def pay(intent_id: str) -> Response:
    """Show the order with Stripe's form beneath it; the one page of the site that loads a script from Stripe."""
    intent = checkout.find_own_intent(db.session(), current_account().id, intent_id)
    if intent is None or intent.ui != "embedded" or intent.stripe_session_id is None:
        abort(404)
    session_id, price_key, trial_days = intent.stripe_session_id, intent.price_key, intent.trial_days
    next_path = intent.next_path
    secret = None
    with suppress(errors.StripeUnavailable):
        secret = checkout.client_secret(session_id)
        if secret is None:
            return redirect(url_for("billing.success", session_id=session_id))
    config: Config = current_app.config["TOLLGATE"]
    page = render_template(
        "billing/pay.html",
        price=catalog.current().price(price_key),
        thing=catalog.current().offer(price_key),
        trial_days=trial_days,
        next=next_path,
        client_secret=secret,
        publishable_key=config.stripe_publishable_key,
        script_url=(config.stripe_api_base or STRIPE_JS) + gateway.SCRIPT_PATH,
    )
    response = make_response(page)
    response.headers.update(policy(config))
    return response


def policy(config: Config) -> dict[str, str]:
    """Return what this one page lets Stripe do: run its script, open its frames, and offer wallets in them.

    The sources are Stripe's: https://docs.stripe.com/security/guide#content-security-policy
    """
    own = config.stripe_api_base
    scripts = own or f"{STRIPE_JS} https://*.js.stripe.com https://checkout.stripe.com"
    frames = own or f"{scripts} https://hooks.stripe.com"
    connections = own or "https://api.stripe.com https://checkout.stripe.com"
    images = own or "https://*.stripe.com"
    return {
        "Content-Security-Policy": headers.content_security_policy(
            config,
            script_src=f"'self' {scripts}",
            frame_src=frames,
            connect_src=f"'self' {connections}",
            img_src=f"'self' data: {images}",
        ),
        "Permissions-Policy": headers.FIXED["Permissions-Policy"].replace("payment=()", "payment=*"),
    }
