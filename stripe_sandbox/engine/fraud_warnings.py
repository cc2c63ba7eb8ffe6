"""Early fraud warnings: what a card's bank reports before anybody disputes (https://docs.stripe.com/disputes/measuring).

A warning is actionable until the charge is disputed or refunded in full: then nothing is left to prevent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, events, objects
from stripe_sandbox.engine import payments

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
KIND = "radar.early_fraud_warning"


def raise_warning(world: World, charge: Document, fraud_type: str = "made_with_stolen_card") -> Document:
    """Report a charge as probably fraudulent; raises Stripe's error for a charge that never succeeded."""
    if charge["status"] != "succeeded":
        raise errors.invalid(f"Charge {charge['id']} took no money, so no bank warns of it.", "charge")
    return world.add(
        objects.new(
            world,
            KIND,
            actionable=not charge["disputed"] and not charge["refunded"],
            charge=charge["id"],
            fraud_type=fraud_type,
            payment_intent=charge["payment_intent"],
        ),
        f"{KIND}.created",
    )


@events.listens("charge.refunded")
def _refunded(world: World, charge: Document) -> None:
    if charge["refunded"]:
        _settle(world, charge["id"])


@events.listens("charge.dispute.created")
def _disputed(world: World, dispute: Document) -> None:
    _settle(world, dispute["charge"])


def _settle(world: World, charge_id: str) -> None:
    for warning in world.select(KIND, {"charge": charge_id}):
        if warning["actionable"]:
            warning["actionable"] = False
            world.save(warning, f"{KIND}.updated")


def _charged(world: World, charge: Document, behaviour: str) -> None:
    if behaviour == "fraud_warning":
        raise_warning(world, charge)


payments.ON_CHARGE.append(_charged)
