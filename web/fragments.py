"""Pieces of pages, and whole ones: rendered once, kept in this process, and filled in each time.

What differs from visitor to visitor though they see the same - the form's token, the address, the mail address - is a
slot in a piece, filled in and escaped for each page. The key of a piece holds everything else that it depends on, by
its value: whoever finds a piece has brought all that stands in it, so none can be old or another's. What asks for
something that no key could hold, such as how long ago something was, is not kept.
See docs/adr/0016-a-page-is-kept-by-what-it-shows.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from flask import Flask, current_app, g, render_template, request, session
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup, escape

from accounts.models import ADMIN
from billing import catalog
from web import billing_notice, by_value, current, filters, gates, idempotency
from web.shelf import Shelf

# Pages of 5 to 20 kB. Those of people who are here now are asked for again; the others make way.
MOST_KEPT = 500
MOST_TOKENS = 5_000
# What templates may ask that is true for a moment or a visitor only: a piece that does is not kept.
PASSING_FILTERS = ("ago",)
PASSING_GLOBALS = ("may", "new_nonce")
# Slots that are filled anew at each place: each form has a number of its own.
ANEW = frozenset({"nonce"})
# Control characters, which no template and no text of the catalogue has.
SLOT = re.compile("\x02([a-z_]+)\x03")


def init_app(app: Flask) -> None:
    """Let templates keep what a macro made of its arguments, `{{ kept(macro, ...) }}`, and leave slots in it."""
    app.extensions["fragments"] = Shelf[_Piece](MOST_KEPT)
    app.extensions["form_tokens"] = {}
    names: dict[str, Any] = app.jinja_env.globals
    names.update(kept=kept_macro, slot=slot, csrf_token=csrf_token, visitor=visitor, idempotency_field=nonce_field)
    names.update(acting_for=acting_for)
    app.context_processor(lambda: {"csrf_token": csrf_token})  # in place of Flask-WTF's own
    app.jinja_env.filters.update({name: passing(app.jinja_env.filters[name]) for name in PASSING_FILTERS})
    names.update({name: passing(names[name]) for name in PASSING_GLOBALS})


def slot(name: str) -> Markup:
    """Return the place in a piece where one of FILLINGS comes."""
    return Markup(f"\x02{name}\x03")  # noqa: S704 - names come from templates


def csrf_token() -> str:
    """Return the form token of this visitor, or a slot for it while a piece is made that many will see."""
    return slot("csrf_token") if g.get("makes_fragment") else _form_token()


def acting_for() -> Markup:
    """Return the public id of the account that this visitor acts for, for a form that must not be another's; or a slot.

    Empty for whoever is not signed in.
    """
    return slot("account") if g.get("makes_fragment") else escape(_account())


def nonce_field() -> Markup:
    """Return the hidden field that makes a form count once, or one with a slot while a piece is made."""
    return idempotency.field(slot("nonce") if g.get("makes_fragment") else None)


def passing(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of templates whose answer passes: the piece that it stands in is rendered each time."""

    @wraps(answer)
    def asked(*arguments: Any, **named: Any) -> Any:
        making: _Making | None = g.get("makes_fragment")
        if making is not None:
            making.is_passing = True
        return answer(*arguments, **named)

    return asked


def page(template: str, **shown: Any) -> str:
    """Return the page that a template makes of what it is given, and keep it by the values of all of that.

    Raises TypeError for what has no value to compare by (web/by_value.py).
    """
    return kept_page(lambda: render_template(template, **shown), template, by_value.of(shown))


def kept_macro(macro: Callable[..., str], *arguments: Hashable) -> Markup:
    """Return what a macro makes of its arguments on the page that the visitor asked for."""
    return kept(lambda: macro(*arguments), macro, request.endpoint, *arguments)


def kept_page(make: Callable[[], str], *key: Hashable) -> str:
    """Return a whole page; it is kept unless it has something to say to this visitor alone.

    The key comes on top of the endpoint and of what the header shows.
    """
    who = visitor()
    if "_flashes" in session or billing_notice.current() is not None:
        return make()
    return kept(make, request.endpoint, *who, *key)


def visitor() -> tuple[bool, bool, bool, bool]:
    """Return what the header depends on: signed in, staff, acts for another's account, takes care of billing."""
    who = current.person()
    if who is None:
        return (False, False, False, False)
    return (True, who.is_staff, current.team() is not None, gates.may(role=ADMIN))


def kept(make: Callable[[], str], *key: Hashable) -> Markup:
    """Return the piece that was kept under a key, made if need be, with its slots filled for this visitor.

    The key comes on top of what every piece may depend on: the settings, the catalogue, the site map, the theme and the
    day.
    """
    pieces: Shelf[_Piece] = current_app.extensions["fragments"]
    settings, sold = current_app.config["TOLLGATE"], catalog.current()
    site = (id(settings), id(sold), len(current_app.view_functions), request.script_root, filters.theme())
    whole_key = (site, filters.today(), key)
    piece = pieces.find(whole_key)
    if piece is None:
        text, is_passing = _made(make)
        piece = _Piece(SLOT.split(text), (settings, sold))
        # A template that is being edited would be kept as it was.
        if not is_passing and not current_app.jinja_env.auto_reload:
            pieces.keep(whole_key, piece)
    return _filled(piece)


def _filled(piece: _Piece) -> Markup:
    # A piece of a piece is filled with the whole.
    fill = slot if g.get("makes_fragment") else _filling
    text = piece.text.copy()
    filling: dict[str, Markup] = {}
    for place in range(1, len(text), 2):
        name = text[place]
        if name in ANEW or name not in filling:
            filling[name] = fill(name)
        text[place] = filling[name]
    return Markup("".join(text))  # noqa: S704 - made by templates, and what is filled in is escaped


@dataclass(frozen=True, slots=True)
class _Piece:
    """Text and the names of slots in turn; and what was named by its id in the key, so that no other takes that id."""

    text: list[str]
    made_for: tuple[object, ...]


@dataclass(slots=True)
class _Making:
    """A piece that is being made; it is passing once something in it is good for this moment or visitor only."""

    is_passing: bool = False


def _made(make: Callable[[], str]) -> tuple[str, bool]:
    outer: _Making | None = g.get("makes_fragment")
    g.makes_fragment = making = _Making()
    try:
        text = make()
    finally:
        g.makes_fragment = outer
    if outer is not None and making.is_passing:
        outer.is_passing = True
    return text, making.is_passing


def _filling(name: str) -> Markup:
    return escape(FILLINGS[name]())


def _form_token() -> str:
    """Return this visitor's form token, signed once for a session and not for each of its pages.

    It is good as long as the session is (WTF_CSRF_TIME_LIMIT is None), so when it was signed does not matter.
    """
    signed: dict[str, str] = current_app.extensions["form_tokens"]
    known = signed.get(session.get("csrf_token", ""))
    if known is not None:
        token: str = g.setdefault("csrf_token", known)  # where Flask-WTF keeps the token of this request
        return token
    if len(signed) >= MOST_TOKENS:
        signed.clear()
    token = generate_csrf()
    signed[session["csrf_token"]] = token
    return token


def _address() -> str:
    return request.full_path.rstrip("?") if request.method == "GET" else "/"


def _account() -> str:
    account = current.find_current_account()
    return account.public_id if account is not None else ""


def _email() -> str:
    who = current.person()
    return who.email if who is not None else ""


def _team() -> str:
    account = current.team()
    return account.name if account is not None else ""


FILLINGS: dict[str, Callable[[], Any]] = {
    "csrf_token": _form_token,
    "account": _account,
    "nonce": idempotency.new_nonce,
    "address": _address,
    "email": _email,
    "team": _team,
}
