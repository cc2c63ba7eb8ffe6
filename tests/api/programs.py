"""A program that calls the API with a key, and the plan that opens it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from accounts.api_keys import ApiKey
from extensions import db
from tests.billing.forms import hidden_fields
from tests.persons import Person, post
from tests.web.documents import Document

PAGE = "/account/api-keys"


@dataclass(frozen=True)
class Program:
    """Something without cookies that sends a key."""

    app: Flask
    secret: str

    def get(self, path: str = "/api/v1/balance") -> TestResponse:
        """Read something."""
        return self.app.test_client().get(path, headers=self._headers())

    def post(self, path: str, body: Any, key: str = "a-key-of-the-test") -> TestResponse:
        """Do something, under an idempotency key."""
        return self.app.test_client().post(path, json=body, headers={**self._headers(), "Idempotency-Key": key})

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}


def send_form(person: Person, name: str = "Nightly import", times: int = 1) -> TestResponse:
    """Open the page and send its form so many times; return the last answer."""
    fields = hidden_fields(person.client.get(PAGE).text, PAGE)
    return [post(person.client, PAGE, **{**fields, "name": name}) for _ in range(times)][-1]


def secret_on(page: TestResponse) -> str | None:
    """Return the secret that a page shows."""
    shown = [i.attrs["value"] for i in Document(page.text).all("input") if i.attrs.get("id") == "api-key-secret"]
    return shown[0] if shown else None


def make_key(person: Person, name: str = "Nightly import") -> Program:
    """Make a key on the page, and a program that uses it."""
    secret = secret_on(send_form(person, name))
    assert secret is not None
    return Program(person.app, secret)


def keys_of(person: Person) -> list[ApiKey]:
    """Return the account's keys as they are stored."""
    with person.app.app_context():
        mine = sa.select(ApiKey).where(ApiKey.account_id == person.account_id)
        return list(db.session.scalars(mine.order_by(ApiKey.id)))


def revoke(person: Person, key: ApiKey) -> TestResponse:
    """Press "Revoke"."""
    return post(person.client, f"{PAGE}/{key.public_id}/revoke")
