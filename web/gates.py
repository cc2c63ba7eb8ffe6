"""Who may enter: every view is closed unless it says otherwise, and all demands are enforced in one place and order.

`@public` and `@requires(...)` only store demands on the view, so their place among other decorators does not matter.
One `before_request` reads them. How to gate a feature of your own: docs/gates.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

from flask import Flask, Request, current_app, g, request
from flask_login import current_user

from billing import access, catalog, limits
from billing.catalog import Catalog, Plan
from billing.errors import LimitReached, PlanRequired
from extensions import db
from ledger import spending, statement
from ledger.errors import NotEnoughCredits
from web import idempotency
from web.current import current_account
from web.refusals import LoginRequired, VerificationRequired

View = TypeVar("View", bound=Callable[..., Any])
Cost = int | str | Callable[[Request], int]

STORED_AS = "gate_demands"
# Views that Flask wrote; every other one that is open says so itself.
PUBLIC_ENDPOINTS = frozenset({"static"})


@dataclass(frozen=True)
class Demands:
    """What a view asks of its visitor.

    `plan`: this plan or one that stands later in the catalogue. `feature`: a plan with this feature. `limit`: room for
    one more. `credits`: a balance that covers this many, or the catalogue's cost of that name, or what a function of
    the request says.
    """

    login: bool = True
    verified: bool = False
    plan: str | None = None
    feature: str | None = None
    limit: str | None = None
    credits: Cost | None = None


class Facts(Protocol):
    """What the decision may ask about the visitor; each fact is looked up only when a demand needs it."""

    @property
    def is_signed_in(self) -> bool: ...
    @property
    def is_verified(self) -> bool: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def balance(self) -> int: ...
    @property
    def catalog(self) -> Catalog: ...
    def used(self, limit: str) -> int: ...
    def credits_for(self, cost: Cost) -> int: ...


def init_app(app: Flask) -> None:
    """Close every view of the app, and let templates ask `may("history")`."""
    app.before_request(enforce)
    app.jinja_env.globals.update(may=may, plans_with=plans_with)


def public(view: View) -> View:
    """Open a view to everybody."""
    return _store(view, Demands(login=False))


def requires(
    *,
    verified: bool = False,
    plan: str | None = None,
    feature: str | None = None,
    limit: str | None = None,
    credits: Cost | None = None,
) -> Callable[[View], View]:
    """Let only those enter who are signed in and meet these demands; without any, whoever is signed in.

    The gate looks whether the balance can cover `credits`; the view spends them, in the transaction of its result,
    under `idempotency.key()`. A form or request without such a key is refused, so that none can be charged twice.
    """
    demands = Demands(verified=verified, plan=plan, feature=feature, limit=limit, credits=credits)
    return lambda view: _store(view, demands)


def demands_of(endpoint: str) -> Demands:
    """Return what the view behind an endpoint asks; a view that says nothing asks for a login."""
    if endpoint in PUBLIC_ENDPOINTS:
        return Demands(login=False)
    stored: Demands = getattr(current_app.view_functions[endpoint], STORED_AS, Demands())
    return stored


def enforce() -> None:
    """Turn the visitor away unless the view's demands are met; raises the refusal that web/errors.py answers."""
    if request.endpoint is None or request.routing_exception is not None:
        return  # no view to guard: the router answers 404, 405 or a redirect
    refused = refusal(demands_of(request.endpoint), facts())
    if refused is not None:
        raise refused


def refusal(demands: Demands, facts: Facts) -> Exception | None:
    """Return the first demand that the facts do not meet, as the error that says so; None when all are met."""
    if not demands.login:
        return None
    return next((refused for check in CHECKS if (refused := check(demands, facts)) is not None), None)


def may(feature: str | None = None, *, plan: str | None = None, limit: str | None = None) -> bool:
    """Tell whether the visitor would be let in, by the same decision: `{% if may("history") %}`."""
    return refusal(Demands(feature=feature, plan=plan, limit=limit), facts()) is None


def plans_with(feature: str) -> list[Plan]:
    """Return the plans that hold a feature and are for sale, in the catalogue's order."""
    return [plan for plan in catalog.current().plans_for_sale if feature in plan.features]


def facts() -> Facts:
    """Return the facts about this request's visitor."""
    if "gate_facts" not in g:
        g.gate_facts = _RequestFacts()
    found: Facts = g.gate_facts
    return found


def _signed_in(demands: Demands, facts: Facts) -> Exception | None:
    return None if facts.is_signed_in else LoginRequired()


def _verified(demands: Demands, facts: Facts) -> Exception | None:
    return VerificationRequired() if demands.verified and not facts.is_verified else None


def _has_plan(demands: Demands, facts: Facts) -> Exception | None:
    if demands.plan is None:
        return None
    keys = tuple(plan.key for plan in facts.catalog.plans)
    good = keys[keys.index(demands.plan) :] if demands.plan in keys else ()
    if facts.plan.key in good:
        return None
    return PlanRequired(tuple(plan.key for plan in facts.catalog.plans_for_sale if plan.key in good))


def _has_feature(demands: Demands, facts: Facts) -> Exception | None:
    if demands.feature is None or demands.feature in facts.plan.features:
        return None
    plans = tuple(plan.key for plan in facts.catalog.plans_for_sale if demands.feature in plan.features)
    return PlanRequired(plans, feature=demands.feature)


def _has_room(demands: Demands, facts: Facts) -> Exception | None:
    if demands.limit is None:
        return None
    used, allowed = facts.used(demands.limit), limits.allowed(facts.plan, demands.limit)
    return None if limits.has_room(used, allowed) else LimitReached(demands.limit, used=used, allowed=allowed)


def _has_credits(demands: Demands, facts: Facts) -> Exception | None:
    if demands.credits is None:
        return None
    # The balance first: a form sent twice finds either credits or, after them, the report that took them.
    balance = facts.balance
    needed = facts.credits_for(demands.credits)
    return None if balance >= needed else NotEnoughCredits(needed, balance)


CHECKS = (_signed_in, _verified, _has_plan, _has_feature, _has_room, _has_credits)


class _RequestFacts:
    """The facts about this request's visitor, read from the database when first asked for."""

    @property
    def is_signed_in(self) -> bool:
        return bool(current_user.is_authenticated)

    @property
    def is_verified(self) -> bool:
        return bool(current_user.is_verified)

    @property
    def catalog(self) -> Catalog:
        return catalog.current()

    @cached_property
    def plan(self) -> Plan:
        return access.plan_of(db.session(), current_account().id)

    @property
    def balance(self) -> int:
        return statement.balance(db.session(), current_account().id).total

    def used(self, limit: str) -> int:
        return limits.used(db.session(), current_account().id, limit)

    def credits_for(self, cost: Cost) -> int:
        if spending.is_paid(db.session(), current_account().id, idempotency.key()):
            return 0  # sent again: the first sending has paid, and the ledger takes nothing twice
        if isinstance(cost, str):
            return self.catalog.costs[cost]
        return cost if isinstance(cost, int) else cost(request)


def _store(view: View, demands: Demands) -> View:
    if STORED_AS in vars(view):
        raise TypeError(f"{view.__name__} has two gates: say all its demands in one @requires(...)")
    setattr(view, STORED_AS, demands)
    return view
