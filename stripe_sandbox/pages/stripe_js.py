"""The stand-in for Stripe.js: what a page loads from js.stripe.com to put Checkout into a frame of its own."""

from __future__ import annotations

import secrets

import stripe
from flask import Blueprint, Response, abort, current_app, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from stripe_sandbox.pages import access

blueprint = Blueprint("stripe_js", __name__)


@blueprint.get("/<train>/stripe.js")
def script(train: str) -> Response:
    """Serve the script under the name of the API's release train, as Stripe does."""
    if train != stripe.api_version.partition(".")[2]:
        abort(404)
    return current_app.send_static_file("js/stripe.js")


@blueprint.get("/checkout/embedded/<client_secret>")
def frame(client_secret: str) -> AnyResponse | tuple[str, int]:
    """Open the session of a client secret, for a frame."""
    session_id = client_secret.partition("_secret_")[0]
    with access.world() as world:
        session = access.get_or_404(world, "checkout.session", session_id)
        known = session.get("client_secret") or ""
        if not request.args.get("key", "").startswith("pk_test_") or not secrets.compare_digest(known, client_secret):
            page = render_template("problem.html", title="This does not open a checkout", words=WRONG)
            return page, 403
        return redirect(f"/checkout/c/pay/{session_id}", 303)


WRONG = "The client secret or the publishable key is not one of this sandbox."
