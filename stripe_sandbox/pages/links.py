"""Payment links: the page behind their address."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template
from werkzeug.wrappers import Response

from stripe_sandbox.pages import access
from stripe_sandbox.routes import payment_links

blueprint = Blueprint("links", __name__, url_prefix="/b")


@blueprint.get("/<link_id>")
def show(link_id: str) -> str:
    """Show what a link sells; opening it makes nothing yet."""
    with access.world() as world:
        link = access.get_or_404(world, "payment_link", link_id)
        return render_template(
            "links/show.html", link=link, names=[item["description"] for item in link["_line_items"]]
        )


@blueprint.post("/<link_id>")
def open_session(link_id: str) -> Response | tuple[str, int]:
    """Make a checkout session and go to its page."""
    with access.world() as world:
        link = access.get_or_404(world, "payment_link", link_id)
        if not link["active"]:
            return render_template("links/show.html", link=link, names=[]), 410
        session = payment_links.open_session(world, link)
        return redirect(f"/checkout/c/pay/{session['id']}", 303)
