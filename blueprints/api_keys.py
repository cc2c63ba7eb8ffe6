"""The keys of an account: made, shown once, listed and revoked; and how to call the API with one.

The page is there where the catalogue sells the feature `api`. Whoever lost the plan still sees and revokes the keys.
"""

from __future__ import annotations

from flask import Blueprint, Flask, abort, flash, redirect, render_template, url_for
from flask_login import current_user
from flask_wtf import FlaskForm
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response
from wtforms import StringField
from wtforms.validators import DataRequired, Length

import database
from accounts import api_keys, people
from accounts.api_keys import ApiKey
from accounts.models import ADMIN
from billing import catalog
from extensions import db, limiter
from mail import outbox
from web import api_access, gates, idempotency, typed_text
from web.current import current_account

bp = Blueprint("api_keys", __name__, url_prefix="/account/api-keys")


class KeyForm(FlaskForm):
    """A new key."""

    name = StringField(
        "Name",
        filters=[typed_text.one_line],
        validators=[
            DataRequired("Give the key a name that says where it is used."),
            Length(max=api_keys.MAX_NAME, message=f"Use at most {api_keys.MAX_NAME} characters."),
        ],
    )


def init_app(app: Flask) -> None:
    """Add the pages where the catalogue sells the API."""
    sold: catalog.Catalog = app.extensions["catalog"]
    if any(feature.key == api_access.FEATURE for feature in sold.features):
        app.register_blueprint(bp)


@bp.get("")
@gates.requires(role=ADMIN)
def index() -> str:
    """List the account's keys, with a form for one more and what to send."""
    return _page(KeyForm(formdata=None))


@bp.post("")
@gates.requires(verified=True, role=ADMIN, feature="api", recent=True)
@limiter.limit("20 per hour", key_func=api_access.caller)
def create() -> str | Response | tuple[str, int]:
    """Make a key and show its secret, this once; sent again, the form makes no second one and shows nothing."""
    form = KeyForm()
    if not form.validate():
        return _page(form), 422
    secret = api_keys.new_secret()
    try:
        made = database.write(
            _make, current_account().id, _maker(), form.name.data, secret=secret, key=idempotency.key()
        )
    except api_keys.TooManyKeys:
        form.name.errors = [f"An account has at most {api_keys.MOST_LIVE} keys. Revoke one that is not used any more."]
        return _page(form), 422
    if made is None:
        flash("This form has made its key already, and a key is shown once. If it is lost, revoke it.", "warning")
        return redirect(url_for("api_keys.index"), 303)
    return _page(KeyForm(formdata=None), made=made, secret=secret)


@bp.post("/<api_key>/revoke")
@gates.requires(role=ADMIN)
def revoke(api_key: str) -> Response:
    """End a key at once."""
    ended = database.write(api_keys.revoke, current_account().id, api_key)
    if ended is None:
        abort(404)
    flash(f"{ended.name} is revoked. Whatever uses it is refused from now on.", "success")
    return redirect(url_for("api_keys.index"), 303)


def _maker() -> tuple[int, str]:
    return current_user.id, current_user.email


def _make(
    session: Session, account_id: int, maker: tuple[int, str], name: str, *, secret: str, key: str
) -> ApiKey | None:
    made = api_keys.make(session, account_id, maker[0], name, secret=secret, key=key)
    if made is not None:
        # A key that its owner did not make is a break-in: they should hear of it.
        outbox.queue(
            session,
            "api_key_made",
            to=people.owner_email(session, account_id),
            context={"name": made.name, "prefix": made.prefix, "made_by": maker[1]},
            dedupe_key=f"api_key_made:{made.public_id}",
            account_id=account_id,
        )
    return made


def _page(form: KeyForm, *, made: ApiKey | None = None, secret: str | None = None) -> str:
    keys = api_keys.listed(db.session(), current_account().id)
    return render_template(
        "api_keys/index.html",
        form=form,
        keys=keys,
        live=sum(key.revoked_at is None for key, _ in keys),
        made=made,
        secret=secret,
        per_minute=api_access.PER_MINUTE,
        costs=catalog.current().costs,
    )
