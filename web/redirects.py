"""Where a visitor may be sent next: to a page of this site, or to the default."""

from __future__ import annotations

import re

from flask import request

MAX_LENGTH = 2000
# One slash that no second slash or backslash follows, then visible ASCII only. Browsers drop tabs and line ends and
# read a backslash as a slash, and Werkzeug tidies what is left: each of these has turned "/..." into another host.
_LOCAL = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*\Z")


def safe_next(target: str | None, default: str) -> str:
    """Return `target` when every browser takes it for a page of this site, `default` otherwise."""
    return target if target is not None and is_local(target) else default


def is_local(target: str) -> bool:
    """Tell whether an address is a path of this site: one leading slash, no `//` in its path, nothing invisible."""
    if len(target) > MAX_LENGTH or not _LOCAL.match(target):
        return False
    return "//" not in target.partition("?")[0]


def asked_next(default: str) -> str:
    """Return the page that this request asked to go on to (`next` of the form or the query), made safe."""
    return safe_next(request.form.get("next") or request.args.get("next"), default)
