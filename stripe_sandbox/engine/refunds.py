"""Refunds: money back to the card, at once, later, or - with some cards - not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, ids, objects
from stripe_sandbox.engine import balance, tasks
from stripe_sandbox.engine.wording import money
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
SETTLES_AFTER_SECONDS = 60  # How long the cards whose refunds change later take to do so.


def refundable(charge: Document) -> int:
    return int(charge["amount_captured"] - charge["amount_refunded"])


def create(
    world: World,
    charge: Document,
    *,
    amount: int | None = None,
    reason: str | None = None,
    metadata: dict[str, str] | None = None,
    **fields: Any,
) -> Document:
    """Refund all that is left of a charge, or part of it; raises Stripe's errors when that is not possible."""
    left = refundable(charge)
    if charge["status"] != "succeeded" or not charge["captured"]:
        raise errors.invalid(f"Charge {charge['id']} cannot be refunded because it has not been captured.", "charge")
    if charge["disputed"] and _is_disputed(world, charge):
        raise errors.StripeError(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
        )
    if left == 0:
        raise errors.StripeError(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    amount = left if amount is None else amount
    if amount > left:
        words = (
            f"Refund amount ({money(amount, charge['currency'])}) is greater than "
            + ("unrefunded amount" if charge["amount_refunded"] else "charge amount")
            + f" ({money(left, charge['currency'])})"
        )
        raise errors.invalid(words, "amount")
    if amount < 1:
        raise errors.invalid(
            "This value must be greater than or equal to 1.", "amount", code="parameter_invalid_integer"
        )
    behaviour = charge.get("_behaviour")
    refund_id = ids.new("refund")
    status = "pending" if behaviour == "refund_pending" else "succeeded"
    refund = objects.new(
        world,
        "refund",
        id=refund_id,
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        destination_details={
            "card": {"reference_status": "pending", "reference_type": "acquirer_reference_number"} | {"type": "refund"},
            "type": "card",
        },
        metadata=metadata or {},
        payment_intent=charge["payment_intent"],
        reason=reason,
        status=status,
        **fields,
    )
    booked = balance.book(world, "refund", refund, -amount, description=f"REFUND FOR CHARGE ({charge['description']})")
    refund["balance_transaction"] = booked["id"]
    world.add(refund)
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    world.save(charge)
    world.emit("charge.refunded", charge)
    world.emit("refund.created", refund)
    if status == "pending":
        world.schedule("refund.succeed", refund, world.now + SETTLES_AFTER_SECONDS, clock=clock_of(world, charge))
    if behaviour == "refund_fail":
        world.schedule("refund.fail", refund, world.now + SETTLES_AFTER_SECONDS, clock=clock_of(world, charge))
    return refund


def _is_disputed(world: World, charge: Document) -> bool:
    return any(
        dispute["status"] in ("needs_response", "under_review", "lost")
        for dispute in world.select("dispute", {"charge": charge["id"]})
    )


def clock_of(world: World, charge: Document) -> str:
    customer = world.find("customer", charge["customer"])
    return str((customer or {}).get("test_clock") or "")


@tasks.task("refund.succeed")
def succeed(world: World, refund: Document) -> None:
    if refund["status"] == "pending":
        refund["status"] = "succeeded"
        _updated(world, refund, "refund.updated")


@tasks.task("refund.fail")
def fail(world: World, refund: Document) -> None:
    """Take back a refund that the bank would not accept: the money returns, the charge is refunded less."""
    if refund["status"] not in ("succeeded", "pending"):
        return
    returned = balance.book(world, "refund_failure", refund, refund["amount"], description="REFUND FAILURE")
    refund.update(
        status="failed", failure_reason="expired_or_canceled_card", failure_balance_transaction=returned["id"]
    )
    _give_back(world, refund)
    _updated(world, refund, "refund.failed")


def cancel(world: World, refund: Document) -> Document:
    """Cancel a refund that is still waiting."""
    if refund["status"] != "requires_action":
        raise errors.invalid(
            f"Refund {refund['id']} cannot be canceled because it has a status of {refund['status']}. Only refunds "
            "with a status of requires_action can be canceled."
        )
    refund["status"] = "canceled"
    _give_back(world, refund)
    _updated(world, refund, "refund.updated")
    return refund


def _give_back(world: World, refund: Document) -> None:
    charge = world.get("charge", refund["charge"])
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    world.save(charge)


def _updated(world: World, refund: Document, event: str) -> None:
    world.save(refund, "refund.updated")
    if event != "refund.updated":
        world.emit(event, refund)
    world.emit("charge.refund.updated", refund)


@rendering.on_demand("charge", "refunds")
def _show_refunds(world: World, charge: Document) -> Document:
    made = [rendering.render(world, refund) for refund in world.select("refund", {"charge": charge["id"]})]
    return rendering.listing(f"/v1/charges/{charge['id']}/refunds", made[:10], has_more=len(made) > 10)
