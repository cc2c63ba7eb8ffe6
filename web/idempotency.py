"""One effect per sending: a nonce in every form that costs something, the `Idempotency-Key` header for programs.

Both become the key under which the ledger remembers the debit, so a form that was sent twice, by a double click, a
reload or a retrying browser, is charged once.
"""

from __future__ import annotations

import re
import secrets
from datetime import timedelta

from flask import Flask, current_app, request
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer
from markupsafe import Markup
from werkzeug.exceptions import BadRequest

from config import Config
from web import problems, tokens
from web.current import current_account

FIELD = "_idem"
HEADER = "Idempotency-Key"
SALT = "form-nonce"
LIFETIME = timedelta(days=2)
# With "api:", the view's name and the ledger's own prefix it stays within what the ledger takes for a key.
KEY = re.compile(r"[\x21-\x7e]{8,128}")


def init_app(app: Flask) -> None:
    """Let templates put a nonce into a form of their own; `{{ idempotency_field() }}` comes from web/fragments.py."""
    app.jinja_env.globals.update(new_nonce=new_nonce, nonce_field=FIELD)


def new_nonce() -> str:
    """Return a nonce for one form of the signed-in account, signed so that nobody else's will do."""
    return _serializer().dumps([current_account().public_id, secrets.token_urlsafe(16)])


def field(nonce: str | None = None) -> Markup:
    """Return the hidden field that carries a nonce, a new one unless it is given."""
    return Markup('<input type="hidden" name="{}" value="{}">').format(FIELD, nonce or new_nonce())


def key() -> str:
    """Return the key of this request, the same each time it is sent again.

    Raises BadRequest, in words for whoever sent it, when the nonce or header is missing, malformed, expired or of
    another account. Forms and programs have keys of their own; the view's name is part of both.
    """
    if problems.wants_problem(request):
        return f"api:{request.endpoint}:{_from_header()}"
    return f"form:{request.endpoint}:{_from_form()}"


def _from_header() -> str:
    given = request.headers.get(HEADER, "")
    if not KEY.fullmatch(given):
        raise BadRequest(
            f"Send the header {HEADER} with 8 to 128 visible characters, a new one for each request, such as a UUID; "
            "the same one when you repeat a request."
        )
    return given


def _from_form() -> str:
    given = request.form.get(FIELD, "")
    if not given:
        raise BadRequest("The form came without its one-time number. Open the form again and send it once more.")
    try:
        account, nonce = _serializer().loads(given, max_age=int(LIFETIME.total_seconds()))
    except SignatureExpired as error:
        raise BadRequest("This form is more than two days old. Open it again and send it once more.") from error
    except (BadSignature, ValueError, TypeError) as error:
        raise BadRequest("The form's one-time number is not one of ours. Open the form again.") from error
    if account != current_account().public_id:
        raise BadRequest("This form was opened by another account. Open it again and send it once more.")
    return str(nonce)


def _serializer() -> URLSafeTimedSerializer:
    config: Config = current_app.config["TOLLGATE"]
    # itsdangerous signs with the last key and accepts all.
    keys = [*reversed(config.secret_key_fallbacks), config.secret_key]
    return URLSafeTimedSerializer(keys, salt=SALT, signer=tokens.ClockSigner)
