"""The example account on the landing page: made of the catalogue, and adding up like a real one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.catalog import Catalog
from ledger.models import CreditKind
from ledger.statement import Source
from web import filters

PAGES = 2
CHECKS = 9
SCORE = 83
NEXT_STEPS = (
    "Name Kubernetes where you used it: the advert asks for it.",
    "Say what came of the work: a number makes it believable.",
    'Replace "worked on" by the verb for what you did.',
)


@dataclass(frozen=True)
class Line:
    """One line of the example's activity."""

    title: str
    detail: str
    at: datetime
    amount: int

    @property
    def ago(self) -> str:
        """How long ago it is said to be, for as long as the picture hangs."""
        return filters.ago(self.at)


@dataclass(frozen=True)
class ProductPicture:
    """What the example account shows; every figure follows from the catalogue."""

    score: int
    next_steps: tuple[str, ...]
    total: int
    pages_left: int
    sources: list[Source]
    failure: list[Line]
    cost: list[tuple[str, ...]]
    statement: list[list[str]]


def draw(catalog: Catalog, now: datetime, page_cost: int) -> ProductPicture:
    """Return an example: a plan that is partly used, a pack where packs are sold, and a check a moment ago."""
    plans, packs = catalog.plans_for_sale, catalog.packs_for_sale
    plan = next((p for p in plans if p.is_recommended), plans[-1])
    pack = packs[len(packs) // 2] if packs else None
    check = PAGES * page_cost
    plan_left = max(plan.credits - CHECKS * check, check)
    sources = [Source(CreditKind.PLAN, plan_left, max(plan.credits, check), now + timedelta(days=12), "example:plan")]
    activity = [Line("CV report", f"{PAGES} pages", now - timedelta(minutes=4), -check)]
    if pack is not None:
        sources.append(Source(CreditKind.PURCHASE, pack.credits, pack.credits, None, "example:pack"))
        paid = filters.money(pack.price.amount_cents, pack.price.currency)
        activity.append(Line(f"{filters.credits(pack.credits)} bought", paid, now - timedelta(hours=3), pack.credits))
    total = sum(source.remaining for source in sources)
    return ProductPicture(
        score=SCORE,
        next_steps=NEXT_STEPS,
        total=total,
        pages_left=total // page_cost,
        sources=sources,
        failure=[
            Line("CV report", "second try", now - timedelta(minutes=1), -check),
            Line("Check did not finish", "nothing charged", now - timedelta(minutes=2), 0),
        ],
        cost=[
            ("Your CV", f"{PAGES} pages"),
            ("This check", filters.credits(check)),
            ("Left afterwards", filters.credits(total - check), "total"),
        ],
        statement=_statement(activity, total),
    )


def _statement(lines: list[Line], balance: int) -> list[list[str]]:
    rows = []
    for line in lines:
        rows.append([line.title, filters.signed(line.amount), filters.number(balance)])
        balance -= line.amount
    return rows
