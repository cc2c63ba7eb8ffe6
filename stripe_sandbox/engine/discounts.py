"""Coupons and promotion codes put to use: who may redeem what, and the discount objects that result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, objects
from stripe_sandbox.engine import periods

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


def coupon_of(world: World, wanted: Document, *, param: str = "discounts") -> tuple[Document, Document | None]:
    """Return the coupon, and the promotion code if any, that `{"coupon"|"promotion_code"|"discount": id}` means."""
    if wanted.get("promotion_code"):
        code = world.get("promotion_code", wanted["promotion_code"], param=f"{param}[0][promotion_code]")
        return world.get("coupon", code["promotion"]["coupon"]), code
    if wanted.get("discount"):
        discount = world.get("discount", wanted["discount"], param=f"{param}[0][discount]")
        return world.get("coupon", discount["source"]["coupon"]), world.find(
            "promotion_code", discount["promotion_code"]
        )
    return world.get("coupon", wanted["coupon"], param=f"{param}[0][coupon]"), None


def refusal(
    world: World, coupon: Document, code: Document | None, *, customer: Document | None, currency: str, amount: int
) -> str | None:
    """Return why a coupon or code cannot be redeemed, in Stripe's words, or None when it can."""
    if not is_valid(world, coupon):
        return f"Coupon expired: {coupon['id']}"
    if coupon["amount_off"] is not None and coupon["currency"] != currency:
        return f"The coupon '{coupon['id']}' is not available for the currency {currency}."
    if code is None:
        return None
    if not is_active(world, code):
        return "This promotion code has expired."
    if code["customer"] and code["customer"] != (customer or {}).get("id"):
        return "This promotion code is not available for this customer."
    restrictions = code["restrictions"]
    if restrictions["minimum_amount"] and amount < restrictions["minimum_amount"]:
        return "This code can't be used because the order is below its minimum amount."
    if restrictions["first_time_transaction"] and customer and _has_paid(world, customer):
        return "This promotion code cannot be redeemed because the associated customer has prior transactions."
    return None


def is_valid(world: World, coupon: Document) -> bool:
    """Tell whether a coupon can still be redeemed."""
    if coupon["max_redemptions"] and coupon["times_redeemed"] >= coupon["max_redemptions"]:
        return False
    return not (coupon["redeem_by"] and coupon["redeem_by"] <= world.now)


def is_active(world: World, code: Document) -> bool:
    if not code["active"] or (code["expires_at"] and code["expires_at"] <= world.now):
        return False
    return not (code["max_redemptions"] and code["times_redeemed"] >= code["max_redemptions"])


def _has_paid(world: World, customer: Document) -> bool:
    return any(charge["paid"] for charge in world.select("charge", {"customer": customer["id"]}))


def redeem(
    world: World,
    coupon: Document,
    code: Document | None,
    *,
    customer: Document | None,
    subscription: str | None = None,
    **fields: Any,
) -> Document:
    """Use a coupon up once, and return the discount that it gives."""
    coupon["times_redeemed"] += 1
    world.save(coupon, "coupon.updated")
    if code is not None:
        code["times_redeemed"] += 1
        world.save(code, "promotion_code.updated")
    end = None
    if coupon["duration"] == "repeating":
        end = periods.add_months(world.now, coupon["duration_in_months"])
    discount = world.add(
        objects.new(
            world,
            "discount",
            customer=customer["id"] if customer else None,
            end=end,
            promotion_code=code["id"] if code else None,
            source={"coupon": coupon["id"], "type": "coupon"},
            start=world.now,
            subscription=subscription,
            **fields,
        )
    )
    if customer is not None:
        world.emit("customer.discount.created", discount)
    return discount


def running(world: World, wanted: list[str], *, at: int | None = None) -> list[Document]:
    """Return those of some discounts that still apply at a time; one that lasts once applies to one invoice only."""
    at = world.now if at is None else at
    found = [discount for discount_id in wanted if (discount := world.find("discount", discount_id))]
    return [
        discount for discount in found if (not discount["end"] or discount["end"] > at) and not discount.get("_used")
    ]


def used(world: World, discounts: list[Document]) -> None:
    """Note that an invoice has used discounts, so that those of duration "once" apply no more."""
    for discount in discounts:
        coupon = world.find("coupon", discount["source"]["coupon"])
        if coupon is not None and coupon["duration"] == "once":
            discount["_used"] = True
            world.save(discount)


def from_params(
    world: World, wanted: Any, *, customer: Document | None, currency: str, amount: int, subscription: str | None = None
) -> list[Document]:
    """Redeem the `discounts` parameter of a request; raises when one of them cannot be."""
    made = []
    for entry in wanted or []:
        if entry.get("discount"):
            made.append(world.get("discount", entry["discount"], param="discounts[0][discount]"))
            continue
        coupon, code = coupon_of(world, entry)
        problem = refusal(world, coupon, code, customer=customer, currency=currency, amount=amount)
        if problem:
            raise errors.invalid(problem, "discounts", code="coupon_expired" if "expired" in problem else None)
        made.append(redeem(world, coupon, code, customer=customer, subscription=subscription))
    return made


def end(world: World, discount: Document) -> Document:
    """Take a discount away, and return it as Stripe does: the object, marked deleted."""
    discount["end"] = world.now
    discount["_used"] = True
    world.save(discount)
    world.emit("customer.discount.deleted", discount)
    return {**discount, "deleted": True}
