"""Disputes and inquiries: opened by the test cards or by hand, answered with evidence, won or lost.

As in Stripe's test mode the words of the evidence decide: "winning_evidence", "losing_evidence", and
"escalate_inquiry_evidence" for inquiries (https://docs.stripe.com/disputes/test).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, objects
from stripe_sandbox.engine import balance, payments, refunds, tasks
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
FEE_CENTS = 1500
DUE_DAYS, INQUIRY_DAYS, REVIEW_DAYS = 7, 120, 60
DECIDES_AFTER_SECONDS = 60  # How long the bank takes over evidence that decides.
NETWORK_CODES = {"fraudulent": "10.4", "product_not_received": "13.1", "duplicate": "12.6.1"}
PURPOSE = "dispute_evidence"
FILES = {"cancellation_policy", "customer_communication", "customer_signature", "duplicate_charge_documentation"} | {
    "receipt",
    "refund_policy",
    "service_documentation",
    "shipping_documentation",
    "uncategorized_file",
}
OPEN = ("needs_response", "warning_needs_response")


def open_dispute(
    world: World, charge: Document, reason: str = "fraudulent", *, inquiry: bool = False, amount: int | None = None
) -> Document:
    """Open a dispute, which takes the money and a fee away, or an inquiry, which takes nothing yet.

    It is about an amount in cents, or all that is left of the charge. Raises Stripe's error when there is nothing left
    to dispute.
    """
    left = refunds.refundable(charge)
    amount = left if amount is None else min(amount, left)
    if charge["disputed"] or not amount:
        raise errors.invalid(f"Charge {charge['id']} has been disputed or refunded already.", "charge")
    days = INQUIRY_DAYS if inquiry else DUE_DAYS
    dispute = objects.new(
        world,
        "dispute",
        amount=amount,
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence={**dict.fromkeys(_evidence_fields(world)), "enhanced_evidence": {}},
        evidence_details={
            "due_by": world.now + days * 86400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        is_charge_refundable=inquiry,
        metadata={},
        payment_intent=charge["payment_intent"],
        payment_method_details={
            "card": {
                "brand": charge["payment_method_details"]["card"]["brand"],
                "case_type": "inquiry" if inquiry else "chargeback",
                "network": charge["payment_method_details"]["card"]["network"],
                "network_reason_code": NETWORK_CODES.get(reason, "13.7"),
            },
            "type": "card",
        },
        reason=reason,
        status="warning_needs_response" if inquiry else "needs_response",
    )
    world.add(dispute)
    charge["disputed"] = True
    world.save(charge, "charge.updated")
    world.emit("charge.dispute.created", dispute)
    if not inquiry:
        _withdraw(world, dispute)
    _appoint(world, dispute, "dispute.overdue", days * 86400)
    return dispute


def _evidence_fields(world: World) -> list[str]:
    """Return the names under which evidence is given, as the contract lists them."""
    fields = world.sandbox.contract.defs["_dispute:Dispute.Evidence"]["properties"]
    return [name for name in fields if name != "enhanced_evidence"]


def _appoint(world: World, dispute: Document, name: str, seconds: int) -> None:
    charge = world.get("charge", dispute["charge"])
    world.schedule(name, dispute, world.now + seconds, clock=refunds.clock_of(world, charge))


def _withdraw(world: World, dispute: Document) -> None:
    words = f"Chargeback withdrawal for {dispute['charge']}"
    booked = balance.book(
        world, "adjustment", dispute, -dispute["amount"], fee=FEE_CENTS, description=words, at_once=True
    )
    dispute["balance_transactions"] = [booked["id"]]
    dispute["is_charge_refundable"] = False
    world.save(dispute)
    world.emit("charge.dispute.funds_withdrawn", dispute)


def give_evidence(world: World, dispute: Document, evidence: Document, *, submit: bool) -> Document:
    """Add evidence and, with `submit`, send it to the bank; raises when the dispute is decided or under review."""
    if dispute["status"] not in OPEN:
        raise errors.invalid("This dispute is already closed or its evidence has been submitted.", "evidence")
    names = _evidence_fields(world)
    for name in FILES & evidence.keys():
        if evidence[name] and world.get("file", evidence[name], param=f"evidence[{name}]")["purpose"] != PURPOSE:
            raise errors.invalid("Evidence has to be a file with the purpose dispute_evidence.", f"evidence[{name}]")
    dispute["evidence"].update({name: value or None for name, value in evidence.items() if name in names})
    details = dispute["evidence_details"]
    details["has_evidence"] = any(dispute["evidence"][name] for name in names)
    if not submit or not evidence:
        return world.save(dispute, "charge.dispute.updated")
    details.update(submission_count=details["submission_count"] + 1, submission_method="manual")
    words = (dispute["evidence"]["uncategorized_text"] or "").strip()
    if words == "escalate_inquiry_evidence" and dispute["status"] == "warning_needs_response":
        return _escalate(world, dispute)
    dispute["status"] = "warning_under_review" if dispute["status"].startswith("warning") else "under_review"
    world.unschedule("dispute.overdue", dispute)
    decided = words in ("winning_evidence", "losing_evidence")
    dispute["_wins"] = words == "winning_evidence"
    world.save(dispute, "charge.dispute.updated")
    _appoint(world, dispute, "dispute.decide", DECIDES_AFTER_SECONDS if decided else REVIEW_DAYS * 86400)
    return dispute


def _escalate(world: World, dispute: Document) -> Document:
    """Turn an inquiry into a chargeback, which takes the money."""
    dispute["status"] = "needs_response"
    dispute["payment_method_details"]["card"]["case_type"] = "chargeback"
    dispute["evidence_details"]["due_by"] = world.now + DUE_DAYS * 86400
    world.save(dispute, "charge.dispute.updated")
    _withdraw(world, dispute)
    _appoint(world, dispute, "dispute.overdue", DUE_DAYS * 86400)
    return dispute


def close(world: World, dispute: Document) -> Document:
    """Accept a dispute as lost; raises when it is decided already."""
    if dispute["status"] not in OPEN:
        raise errors.invalid("This dispute is already closed.")
    _decide(world, dispute, "warning_closed" if dispute["status"].startswith("warning") else "lost")
    return dispute


def _decide(world: World, dispute: Document, status: str) -> None:
    dispute["status"] = status
    world.unschedule("dispute.overdue", dispute)
    world.unschedule("dispute.decide", dispute)
    if status == "won" and dispute["balance_transactions"]:
        words = f"Chargeback reversal for {dispute['charge']}"
        returned = balance.book(
            world, "adjustment", dispute, dispute["amount"], fee=-FEE_CENTS, description=words, at_once=True
        )
        dispute["balance_transactions"].append(returned["id"])
    world.save(dispute)
    world.emit("charge.dispute.closed", dispute)
    if status == "won" and len(dispute["balance_transactions"]) == 2:
        world.emit("charge.dispute.funds_reinstated", dispute)


@tasks.task("dispute.decide")
def decide_when_due(world: World, dispute: Document) -> None:
    """Let the bank decide: for who brought winning evidence, against everybody else; inquiries just end."""
    if dispute["status"] == "under_review":
        _decide(world, dispute, "won" if dispute.get("_wins") else "lost")
    elif dispute["status"] == "warning_under_review":
        _decide(world, dispute, "warning_closed")


@tasks.task("dispute.overdue")
def lose_when_unanswered(world: World, dispute: Document) -> None:
    """Lose a dispute that nobody answered in time; an inquiry that nobody answered ends without loss."""
    if dispute["status"] not in OPEN:
        return
    dispute["evidence_details"]["past_due"] = True
    _decide(world, dispute, "warning_closed" if dispute["status"].startswith("warning") else "lost")


def _charged(world: World, charge: Document, behaviour: str) -> None:
    if behaviour == "inquiry":
        open_dispute(world, charge, inquiry=True)
    elif behaviour.startswith("dispute:"):
        open_dispute(world, charge, behaviour.removeprefix("dispute:"))


payments.ON_CHARGE.append(_charged)


@rendering.embeds("dispute")
def _embed_transactions(world: World, shown: Document, stored: Document) -> None:
    found = [world.find("balance_transaction", one) for one in stored["balance_transactions"]]
    shown["balance_transactions"] = [rendering.render(world, one) for one in found if one]
