"""Stripe's nested form encoding: `items[0][price]=price_1` and `expand[]=customer`."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from io import BytesIO
from typing import Any

from werkzeug.formparser import parse_form_data

from stripe_sandbox import errors

_TYPES = {b"%PDF-": "pdf", b"\xff\xd8\xff": "jpg", b"\x89PNG\r\n\x1a\n": "png"}
_KEY = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")


def parse(encoded: bytes | str) -> dict[str, Any]:
    """Return nested dicts with string leaves; list positions stay string keys ("0", "1").

    Raises `errors.StripeError` when a key is malformed or used both as a value and as a hash.
    """
    text = encoded.decode("utf-8", "replace") if isinstance(encoded, bytes) else encoded
    root: dict[str, Any] = {}
    try:
        pairs = urllib.parse.parse_qsl(text, keep_blank_values=True, max_num_fields=2000)
    except ValueError as error:
        raise errors.invalid("Invalid request: too many parameters.") from error
    for key, value in pairs:
        _place(root, key, value)
    return root


def parse_parts(body: bytes, content_type: str) -> dict[str, Any]:
    """Return a form that was sent in parts; of each file its name, size, type and SHA-256.

    Raises `errors.StripeError` when the parts cannot be told apart.
    """
    environ = {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": content_type}
    try:
        _, fields, files = parse_form_data({**environ, "REQUEST_METHOD": "POST"}, silent=False)
    except ValueError as error:
        raise errors.invalid("Invalid request: the parts of the form cannot be read.") from error
    root: dict[str, Any] = {}
    for key, value in fields.items(multi=True):
        _place(root, key, value)
    for key, file in files.items(multi=True):
        with file.stream:
            content = file.read()
        kind = next((kind for beginning, kind in _TYPES.items() if content.startswith(beginning)), None)
        digest = hashlib.sha256(content).hexdigest()
        root[key] = {"filename": file.filename, "size": len(content), "type": kind, "sha256": digest}
    return root


def _place(root: dict[str, Any], key: str, value: str) -> None:
    match = _KEY.match(key)
    if match is None or "\x00" in key or "\x00" in value:
        raise errors.invalid(f"Invalid request: the parameter name '{key[:80]}' is malformed.", key[:80])
    parts = [match.group(1), *re.findall(r"\[([^\[\]]*)\]", match.group(2))]
    here = root
    for position, part in enumerate(parts):
        name = part if part != "" else str(len(here))
        if position == len(parts) - 1:
            if isinstance(here.get(name), dict):
                raise errors.invalid("Invalid object", key)
            here[name] = value
            return
        deeper = here.setdefault(name, {})
        if not isinstance(deeper, dict):
            raise errors.invalid("Invalid string: {...}", match.group(1))
        here = deeper
