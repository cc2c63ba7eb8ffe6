"""Forms as a browser sends them: opened on their page, with every hidden field."""

from __future__ import annotations

import html
import re

from werkzeug.test import TestResponse

from tests.persons import Person


def hidden_fields(page: str, action: str) -> dict[str, str]:
    """Return the hidden fields of the page's form that leads to an address."""
    form = re.search(rf'<form[^>]* action="{re.escape(action)}".*?</form>', page, re.DOTALL)
    assert form, f"there is no form to {action} on this page"
    tags = re.findall(r'<input[^>]*type="hidden"[^>]*>', form[0])
    return {_attribute(tag, "name"): _attribute(tag, "value") for tag in tags}


def open_form(person: Person, path: str, action: str) -> dict[str, str]:
    """Open a page and return the hidden fields of its form to an address."""
    page = person.client.get(path)
    assert page.status_code == 200, page.get_data(as_text=True)
    return hidden_fields(page.get_data(as_text=True), action)


def send(person: Person, action: str, fields: dict[str, str]) -> TestResponse:
    """Send a form."""
    return person.client.post(action, data=fields, headers={"Sec-Fetch-Site": "same-origin"})


def submit(person: Person, path: str, action: str, **fields: str) -> TestResponse:
    """Open a page, fill its form to an address, and send it."""
    return send(person, action, {**open_form(person, path, action), **fields})


def _attribute(tag: str, name: str) -> str:
    found = re.search(rf'\b{name}="([^"]*)"', tag)
    return html.unescape(found[1]) if found else ""
