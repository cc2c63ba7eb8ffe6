"""A person who checks CVs, by form and by API."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

import database
from ledger import granting
from tests.checker.samples import words
from tests.persons import Person, csrf_token

ONE_PAGE, TWO_PAGES = words(120), words(620)


def give_credits(app: Flask, person: Person, credits: int) -> None:
    """Bring a person's balance to a number of credits, whatever the free plan gave."""
    more = credits - person.balance()
    with app.app_context():
        if more > 0:
            database.write(granting.grant, person.account_id, more, kind="purchase", source="charge:ch_of_a_test")
    assert person.balance() == credits


def open_form(person: Person) -> dict[str, str]:
    """Return the hidden fields of the form that the person has opened."""
    return hidden_fields(person.client.get("/cv"))


def ask_price(person: Person, text: str, advert: str = "") -> TestResponse:
    """Press "See the price"."""
    fields = {**open_form(person), "text": text, "advert": advert}
    return person.client.post("/cv/preview", data=fields)


def check(person: Person, text: str = ONE_PAGE, advert: str = "", **changed: str) -> TestResponse:
    """Press "See the price", then "Check this CV", as people do; `changed` replaces fields in between."""
    priced = hidden_fields(ask_price(person, text, advert))
    return person.client.post("/cv", data={**priced, "text": text, "advert": advert, **changed})


def hidden_fields(page: TestResponse) -> dict[str, str]:
    """Return the hidden fields of the page's CV form."""
    form = page.get_data(as_text=True).partition('class="form cv-form"')[2].partition("</form>")[0]
    found = re.findall(r"<input[^>]*type=\"hidden\"[^>]*>", form)
    assert found, "there is no CV form on this page"
    return {_attribute(tag, "name"): _attribute(tag, "value") for tag in found}


def call_api(
    person: Person, body: Any, *, key: str | None = "a-key-of-the-test", path: str = "/api/v1/cv"
) -> TestResponse:
    """Send JSON to the API with an idempotency key."""
    headers: Mapping[str, str] = {"X-CSRFToken": csrf_token(person.client), **({"Idempotency-Key": key} if key else {})}
    return person.client.post(path, json=body, headers=headers)


def _attribute(tag: str, name: str) -> str:
    found = re.search(rf'\b{name}="([^"]*)"', tag)
    return html.unescape(found[1]) if found else ""
