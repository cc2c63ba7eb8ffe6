"""A member of staff as the tests drive one: through the pages and their forms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import select
from werkzeug.test import TestResponse

import database
from accounts.api_keys import ApiKey
from accounts.audit import AuditEntry
from accounts.models import Account
from billing.models import Payment
from billing.reversals import Dispute, Refund, RefundIntent
from extensions import db
from ledger import invariants, spending, statement
from mail.models import Email
from tests.billing.forms import hidden_fields, send
from tests.persons import Person, sign_up
from tests.web.documents import Document
from tests.worlds import Stripe


@dataclass(frozen=True)
class Office:
    """A signed-in member of staff and the world they work in."""

    staff: Person
    stripe: Stripe

    def customer(self, price_key: str = "credits_30", card: str = "4242424242424242") -> Person:
        """Make a customer who has paid for something."""
        ann = sign_up(self.staff.app)
        self.stripe.pay(ann.checkout(price_key), card)
        self.stripe.settle()
        return ann

    def spend(self, ann: Person, credits: int, key: str = "work") -> None:
        """Let a customer use credits."""
        self._write(spending.spend, ann.account_id, credits, idempotency_key=key, reason="CV report, some pages")

    def path(self, ann: Person) -> str:
        """Return the address of a customer's page."""
        with self.staff.app.app_context():
            return f"/admin/customers/{db.session.get_one(Account, ann.account_id).public_id}"

    def words(self, path: str) -> str:
        """Return the words of a page."""
        answer = self.staff.client.get(path)
        assert answer.status_code == 200, answer.text
        return Document(answer.text).all("main")[0].words

    def act(self, page: str, to: str, times: int = 1, **fields: str) -> TestResponse:
        """Open a page, fill its form to an address, and send it so many times; return the last answer."""
        opened = self.staff.client.get(page)
        assert opened.status_code == 200, opened.text
        sent = {**hidden_fields(opened.text, to), **fields}
        return [send(self.staff, to, sent) for _ in range(times)][-1]

    def refund(self, ann: Person, amount: str, times: int = 1, reason: str = "requested_by_customer") -> TestResponse:
        """Refund an amount of a customer's newest payment, through its preview."""
        preview = self.preview(ann, amount, reason)
        assert preview.status_code == 200, preview.text
        action = f"/admin/payments/{self.payment(ann).stripe_charge_id}/refund/confirm"
        sent = hidden_fields(preview.text, action)
        return [send(self.staff, action, sent) for _ in range(times)][-1]

    def preview(self, ann: Person, amount: str, reason: str = "requested_by_customer") -> TestResponse:
        """Ask what refunding an amount would do."""
        path = f"/admin/payments/{self.payment(ann).stripe_charge_id}/refund"
        return self.act(path, path, amount=amount, reason=reason, note="As agreed by mail")

    def payment(self, ann: Person) -> Payment:
        """Return a customer's newest payment."""
        with self.staff.app.app_context():
            query = select(Payment).where(Payment.account_id == ann.account_id).order_by(Payment.id.desc())
            found = db.session.scalars(query).first()
            assert found is not None
            return found

    def balance(self, ann: Person) -> statement.Balance:
        """Return a customer's credits; the books add up whenever somebody looks."""
        with self.staff.app.app_context():
            assert invariants.violations(db.session()) == []
            return statement.balance(db.session(), ann.account_id)

    def all(self, kind: type[Any]) -> list[Any]:
        """Return every row of a table."""
        with self.staff.app.app_context():
            return list(db.session.scalars(select(kind)))

    def audit(self) -> list[tuple[str, str]]:
        """Return what the audit log says was done, and by whom."""
        rows = sorted(self.all(AuditEntry), key=lambda row: row.id)
        return [(row.action, row.actor) for row in rows]

    def changes(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return before and after of the newest line of the audit log."""
        newest = max(self.all(AuditEntry), key=lambda row: row.id)
        return json.loads(newest.before), json.loads(newest.after)

    def mails(self, ann: Person) -> list[str]:
        """Return the templates of the mails that were promised to a customer, but for receipts."""
        mails = sorted(self.all(Email), key=attrgetter("id"))
        return [mail.template for mail in mails if mail.account_id == ann.account_id and mail.template != "receipt"]

    def keys(self, ann: Person) -> list[ApiKey]:
        """Return a customer's API keys."""
        return [key for key in self.all(ApiKey) if key.account_id == ann.account_id]

    def intents(self) -> list[RefundIntent]:
        """Return every refund that was decided."""
        return self.all(RefundIntent)

    def refunds(self) -> list[Refund]:
        """Return the refunds at Stripe, as they were copied."""
        return self.all(Refund)

    def dispute(self) -> Dispute:
        """Return the one dispute."""
        (found,) = self.all(Dispute)
        return found

    def _write(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        with self.staff.app.app_context():
            return database.write(work, *args, **kwargs)
