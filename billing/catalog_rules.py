"""What no single key of the catalogue shows: references to nothing, and parts that contradict one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from billing.catalog import Catalog, Plan


# A feature and a limit of one name: who may share an account, and how many (billing/seats.py).
SHARED = "members"


def contradictions(catalog: Catalog) -> list[str]:
    """Return every contradiction as a sentence that begins with the key it is about."""
    return [
        *_wrong_as_a_whole(catalog),
        *(problem for plan in catalog.plans for problem in _wrong_in_plan(catalog, plan)),
        *_ambiguous_keys(catalog),
    ]


def _wrong_as_a_whole(catalog: Catalog) -> Iterator[str]:
    free = [plan.key for plan in catalog.plans if plan.is_free]
    if len(free) != 1:
        found = ", ".join(free) or "none"
        yield f"plans: exactly one plan must have no price, the one that everybody starts with; there is {found}"
    recommended = [plan.key for plan in catalog.plans if plan.is_recommended]
    if len(recommended) > 1:
        yield f"plans: only one plan can be recommended; there are {', '.join(recommended)}"
    says = catalog.policies
    if not says.support_opens_hour < says.support_closes_hour <= 24:
        yield "policies.support_closes_hour: it must be later than support_opens_hour, and at most 24"
    for name in ("support_priority_hours", "support_days"):
        if getattr(says, name) < 1:
            yield f"policies.{name}: an answer takes at least 1"
    for code in _repeated([promotion.code for promotion in catalog.promotions]):
        yield f"promotions: two promotions have the code {code!r}; give each its own"
    events = [meter.event_name for meter in catalog.meters]
    for name in _repeated(events):
        yield f"meters: two meters count the event {name!r}; give each its own event_name"


def _wrong_in_plan(catalog: Catalog, plan: Plan) -> Iterator[str]:
    where = f"plans.{plan.key}"
    features = [feature.key for feature in catalog.features]
    for name in plan.features:
        if name not in features:
            yield f"{where}.features: {name!r} is not under [features]; there are {', '.join(features) or 'none'}"
    for name in _repeated(plan.features):
        yield f"{where}.features: {name!r} is listed twice"
    limits = {name: None for other in catalog.plans for name in other.limits}
    for name in limits:
        if name not in plan.limits:
            yield f"{where}.limits: {name} is missing, which other plans limit; -1 is unlimited, 0 is none"
    if SHARED in plan.features and plan.limits.get(SHARED, 0) in (0, 1):
        yield f"{where}: the feature {SHARED} needs limits.{SHARED}, the seats with the owner's: at least 2, -1 is any"
    if plan.is_free and plan.is_retired:
        yield f"{where}.retired: everybody starts with the free plan, so it cannot be retired"
    if plan.is_recommended and plan.is_retired:
        yield f"{where}.retired: a plan that nobody can choose cannot be recommended"
    if plan.is_free and plan.trial_days:
        yield f"{where}.trial_days: a plan without a price needs no trial"
    if plan.is_trial_without_card and not plan.trial_days:
        yield f"{where}.trial_without_card: there is no trial; set trial_days"
    meters = {meter.key for meter in catalog.meters}
    for price in plan.overages:
        yield from _wrong_in_overage(plan, str(price.meter), meters, f"{where}.overage.{price.meter}")


def _wrong_in_overage(plan: Plan, meter: str, meters: set[str], where: str) -> Iterator[str]:
    if meter not in meters:
        yield f"{where}: there is no meter of that name under [meters]"
    if plan.is_free:
        yield f"{where}: a plan without a price is not billed, so it can have no overage"
    elif plan.limits.get(meter, 0) < 1:
        yield f"{where}: needs limits.{meter}, the number that is included; it must be at least 1"


def _ambiguous_keys(catalog: Catalog) -> Iterator[str]:
    for key in _repeated([price.key for price in catalog.prices]):
        yield f"{key}: two prices have this key; rename a plan or a pack"
    # Each of these is a product at Stripe, whose id is made of the key.
    overages = [price.key for plan in catalog.plans for price in plan.overages]
    plans, packs = [plan.key for plan in catalog.plans], [pack.key for pack in catalog.packs]
    for key in _repeated([*plans, *packs]):
        yield f"packs.{key}: a plan has this key too; rename one"
    for key in _repeated([*plans, *overages]):
        yield f"plans.{key}: the overage of another plan has this key too; rename one"


def _repeated(words: Iterable[str]) -> list[str]:
    counts = Counter(words)
    return [word for word, count in counts.items() if count > 1]
