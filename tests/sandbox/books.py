"""What must add up in a sandbox at any moment, checked on its own documents."""

from __future__ import annotations

from typing import Any

from stripe_sandbox.engine import balance, drafting, subscriptions
from stripe_sandbox.testing import Sandbox
from stripe_sandbox.world import World

Document = dict[str, Any]


def check(sandbox: Sandbox) -> None:
    """Raise AssertionError naming the object that does not add up."""
    with sandbox.world() as world:
        _balance(world)
        for invoice in world.select("invoice"):
            _invoice(world, invoice)
        for customer in world.select("customer"):
            _customer(world, customer)
        for charge in world.select("charge"):
            _charge(world, charge)
        for subscription in world.select("subscription"):
            _subscription(world, subscription)
        for event in world.select("event"):
            assert event["created"] <= world.now, event["id"]
    assert departures(sandbox) == []


def departures(sandbox: Sandbox) -> list[str]:
    """Return where answers and events depart from the contract; refused requests are not meant."""
    return [one for one in sandbox.violations if one.startswith(("answer to", "event "))]


def _balance(world: World) -> None:
    """Charges less refunds less disputes is what the account's transactions come to, kind by kind."""
    booked: dict[str, int] = {}
    for entry in world.select("balance_transaction"):
        booked[entry["type"]] = booked.get(entry["type"], 0) + entry["amount"]
        assert entry["net"] == entry["amount"] - entry["fee"], entry["id"]
        assert sum(part["amount"] for part in entry["fee_details"]) == entry["fee"], entry["id"]
    charged = sum(one["amount_captured"] for one in world.select("charge") if one["status"] == "succeeded")
    refunded = sum(one["amount"] for one in world.select("refund") if one["status"] not in ("failed", "canceled"))
    taken = sum(
        one["amount"] for one in world.select("dispute") if one["status"] in ("needs_response", "under_review", "lost")
    )
    assert booked.get("charge", 0) == charged
    assert booked.get("refund", 0) + booked.get("refund_failure", 0) == -refunded
    assert booked.get("adjustment", 0) == -taken
    shown = balance.totals(world)
    assert sum(shown["available"].values()) + sum(shown["pending"].values()) == sum(
        entry["net"] for entry in world.select("balance_transaction")
    )


def _invoice(world: World, invoice: Document) -> None:
    name = (invoice["id"], invoice["status"], invoice["billing_reason"])
    lines = invoice["_lines"]
    off = sum(part["amount"] for line in lines for part in line["discount_amounts"])
    assert invoice["subtotal"] == sum(line["amount"] for line in lines), name
    assert invoice["total"] == invoice["subtotal"] - off, name
    assert sum(part["amount"] for part in invoice["total_discount_amounts"]) == off, name
    assert all(line["invoice"] == invoice["id"] for line in lines), name
    if invoice["status"] == "draft":
        return
    lowered = invoice["pre_payment_credit_notes_amount"]
    used = invoice["ending_balance"] - invoice["starting_balance"]
    assert invoice["amount_due"] == invoice["total"] - used - lowered, name
    assert invoice["amount_due"] == 0 or invoice["amount_due"] + lowered >= drafting.minimum(invoice["currency"]), name
    assert invoice["amount_remaining"] == invoice["amount_due"] - invoice["amount_paid"], name
    payments = list(world.select("invoice_payment", {"invoice": invoice["id"]}))
    paid = [one for one in payments if one["status"] == "paid"]
    assert sum(one["amount_paid"] for one in paid) == invoice["amount_paid"], name
    for one in paid:
        intent = world.get("payment_intent", one["payment"]["payment_intent"])
        assert (intent["status"], intent["amount_received"]) == ("succeeded", one["amount_paid"]), name
    open_ones = [one for one in payments if one["status"] == "open"]
    assert len(open_ones) == (1 if invoice["status"] in ("open", "uncollectible") else 0), name
    if invoice["status"] == "paid":
        assert invoice["amount_remaining"] == 0 and invoice["next_payment_attempt"] is None, name
    if open_ones:
        intent = world.get("payment_intent", open_ones[0]["payment"]["payment_intent"])
        assert intent["amount"] == invoice["amount_remaining"], name


def _customer(world: World, customer: Document) -> None:
    entries = list(world.select("customer_balance_transaction", {"customer": customer["id"]}))
    assert customer["balance"] == sum(entry["amount"] for entry in entries), customer["id"]
    if entries:
        assert entries[0]["ending_balance"] == customer["balance"], customer["id"]


def _charge(world: World, charge: Document) -> None:
    refunds = world.select("refund", {"charge": charge["id"]})
    given = sum(one["amount"] for one in refunds if one["status"] not in ("failed", "canceled"))
    assert charge["amount_refunded"] == given, charge["id"]
    assert charge["refunded"] == (given == charge["amount_captured"] > 0), charge["id"]


def _subscription(world: World, subscription: Document) -> None:
    name = (subscription["id"], subscription["status"])
    items = subscriptions.items_of(subscription)
    tasks = {row["name"] for row in world.store.rows("SELECT name FROM tasks WHERE object_id = ?", subscription["id"])}
    assert all(item["current_period_start"] < item["current_period_end"] for item in items), name
    assert subscription["items"]["total_count"] == len(items) > 0, name
    if subscription["status"] in subscriptions.RENEWING:
        assert subscriptions.next_due(subscription) > world.now or subscription["test_clock"], name
        assert "subscription.cycle" in tasks, name
    else:
        assert "subscription.cycle" not in tasks, name
    if subscription["status"] in ("canceled", "incomplete_expired"):
        assert subscription["ended_at"] is not None and not tasks, (name, tasks)
    if subscription["status"] == "trialing":
        assert subscription["trial_end"] > world.now, name
    if subscription["pending_update"]:
        assert subscription["_awaiting"]["kind"] == "change" and subscription["status"] in subscriptions.RENEWING, name
    if subscription["status"] == "paused":
        assert subscription["status_details"]["paused"], name
    else:
        assert "status_details" not in subscription, name
