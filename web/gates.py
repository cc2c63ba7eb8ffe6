"""Who may enter: every view is closed unless it says otherwise, and all demands are enforced in one place and order.

`@public` and `@requires(...)` only store demands on the view, so their place among other decorators does not matter.
One `before_request` reads them. How to gate a feature of your own: docs/gates.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol, TypeVar

from flask import Flask, Request, current_app, flash, g, request
from flask_login import current_user
from werkzeug.exceptions import NotFound

from accounts import memberships
from accounts.models import ADMIN
from billing import access, catalog, limits, seats
from billing.catalog import Catalog, Plan
from billing.errors import PlanRequired, TeamClosed
from extensions import db
from ledger import spending, statement
from ledger.errors import NotEnoughCredits
from web import api_access, idempotency, sessions
from web.current import acting, current_account, person
from web.refusals import (
    AccountLost,
    ApiClosed,
    KeyRefused,
    LoginRequired,
    PasswordRequired,
    RoleRequired,
    VerificationRequired,
)

View = TypeVar("View", bound=Callable[..., Any])
Cost = int | str | Callable[[Request], int]

STORED_AS = "gate_demands"
FOR_MACHINES = "serves_machines"
# Views that Flask wrote; every other one that is open says so itself.
PUBLIC_ENDPOINTS = frozenset({"static"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Demands:
    """What a view asks of its visitor.

    `plan`: this plan or one that stands later in the catalogue. `feature`: a plan with this feature. `limit`: room for
    one more. `staff`: the role "admin"; for everybody else the page does not exist. `credits`: a balance that covers
    this many, or the catalogue's cost of that name, or what a function of the request says. `role`: this role in the
    account, or a higher one; None is any. `personal`: the page is about the person, whatever account they act for.
    `recent`: the password was given lately, or is asked for again.
    """

    login: bool = True
    verified: bool = False
    plan: str | None = None
    feature: str | None = None
    limit: str | None = None
    credits: Cost | None = None
    staff: bool = False
    role: str | None = None
    personal: bool = False
    recent: bool = False


class Facts(Protocol):
    """What the decision may ask about the visitor; each fact is looked up only when a demand needs it."""

    @property
    def is_signed_in(self) -> bool: ...
    @property
    def brings_key(self) -> bool: ...
    @property
    def is_verified(self) -> bool: ...
    @property
    def is_staff(self) -> bool: ...
    @property
    def is_recent(self) -> bool: ...
    @property
    def account_obstacle(self) -> Exception | None: ...
    @property
    def role(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def balance(self) -> int: ...
    @property
    def catalog(self) -> Catalog: ...
    def room(self, limit: str) -> limits.Room: ...
    def credits_for(self, cost: Cost) -> int: ...


def init_app(app: Flask) -> None:
    """Close every view of the app, and let templates ask `may("history")`."""
    app.before_request(enforce)
    app.jinja_env.globals.update(may=may, plans_with=plans_with)


def public(view: View) -> View:
    """Open a view to everybody."""
    return _store(view, Demands(login=False))


def machines(view: View) -> View:
    """Open a view to machines that prove in the request itself who they are: a signature, checked by the view.

    They have no session, no form and no rate limit; nothing that runs around pages runs around this view.
    """
    setattr(view, FOR_MACHINES, True)
    return public(view)


def is_for_machines(view: Callable[..., Any]) -> bool:
    """Tell whether a view serves machines only."""
    return hasattr(view, FOR_MACHINES)


def requires(
    *,
    verified: bool = False,
    plan: str | None = None,
    feature: str | None = None,
    limit: str | None = None,
    credits: Cost | None = None,
    staff: bool = False,
    role: str | None = None,
    personal: bool = False,
    recent: bool = False,
) -> Callable[[View], View]:
    """Let only those enter who are signed in and meet these demands; without any, whoever is signed in.

    A view is closed to the members of a team unless it says `role=MEMBER`: one that is about money and forgot to say so
    must not be theirs.
    The gate looks whether the balance can cover `credits`; the view spends them, in the transaction of its result,
    under `idempotency.key()`. A form or request without such a key is refused, so that none can be charged twice.
    """
    if role is None and not (staff or personal):
        role = ADMIN
    demands = Demands(
        verified=verified,
        plan=plan,
        feature=feature,
        limit=limit,
        credits=credits,
        staff=staff,
        role=role,
        personal=personal,
        recent=recent,
    )
    return lambda view: _store(view, demands)


def demands_of(endpoint: str) -> Demands:
    """Return what the view behind an endpoint asks; one that says nothing asks for a login, and is not for members."""
    if endpoint in PUBLIC_ENDPOINTS:
        return Demands(login=False)
    stored: Demands = getattr(current_app.view_functions[endpoint], STORED_AS, Demands(role=ADMIN))
    return stored


def enforce() -> None:
    """Turn the visitor away unless the view's demands are met; raises the refusal that web/errors.py answers."""
    if request.endpoint is None or request.routing_exception is not None:
        return  # no view to guard: the router answers 404, 405 or a redirect
    ensure(demands_of(request.endpoint))


def ensure(demands: Demands) -> None:
    """Raise the refusal of the first demand that this request's visitor does not meet.

    For what a view demands only of some of its visitors; everything else stands on the view.
    """
    refused = refusal(demands, facts())
    if refused is not None:
        raise refused


def refusal(demands: Demands, facts: Facts) -> Exception | None:
    """Return the first demand that the facts do not meet, as the error that says so; None when all are met."""
    if not demands.login:
        return None
    for check in CHECKS:
        refused = check(demands, facts)
        if refused is not None:
            return refused
    return None


def may(
    feature: str | None = None,
    *,
    plan: str | None = None,
    limit: str | None = None,
    role: str | None = None,
    recent: bool = False,
) -> bool:
    """Tell whether the visitor would be let in, by the same decision: `{% if may("history") %}`."""
    return refusal(_wish(feature, plan, limit, role, recent), facts()) is None


@lru_cache(maxsize=1000)
def _wish(feature: str | None, plan: str | None, limit: str | None, role: str | None, recent: bool) -> Demands:
    return Demands(feature=feature, plan=plan, limit=limit, role=role, recent=recent)


def plans_with(feature: str) -> list[Plan]:
    """Return the plans that hold a feature and are for sale, in the catalogue's order."""
    return [plan for plan in catalog.current().plans_for_sale if feature in plan.features]


def facts() -> Facts:
    """Return the facts about this request's visitor."""
    found: Facts | None = g.get("gate_facts")
    if found is None:
        found = g.gate_facts = _RequestFacts()
    return found


def _is_staff(demands: Demands, facts: Facts) -> Exception | None:
    # Not even that there is something to log in to is told to others.
    return NotFound() if demands.staff and not (facts.is_signed_in and facts.is_staff) else None


def _signed_in(demands: Demands, facts: Facts) -> Exception | None:
    if facts.is_signed_in:
        return None
    return KeyRefused() if facts.brings_key else LoginRequired()


def _key_opens(demands: Demands, facts: Facts) -> Exception | None:
    if not facts.brings_key or api_access.FEATURE in facts.plan.features:
        return None
    return ApiClosed(_plans_for_sale_with(api_access.FEATURE, facts))


def _verified(demands: Demands, facts: Facts) -> Exception | None:
    return VerificationRequired() if demands.verified and not facts.is_verified else None


def _account_open(demands: Demands, facts: Facts) -> Exception | None:
    return None if demands.personal or demands.staff else facts.account_obstacle


def _has_role(demands: Demands, facts: Facts) -> Exception | None:
    if demands.role is None or memberships.is_at_least(facts.role, demands.role):
        return None
    return RoleRequired(facts.owner, demands.role)


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
    return PlanRequired(_plans_for_sale_with(demands.feature, facts), feature=demands.feature)


def _plans_for_sale_with(feature: str, facts: Facts) -> tuple[str, ...]:
    return tuple(plan.key for plan in facts.catalog.plans_for_sale if feature in plan.features)


def _has_room(demands: Demands, facts: Facts) -> Exception | None:
    if demands.limit is None:
        return None
    return facts.room(demands.limit).refusal


def _has_credits(demands: Demands, facts: Facts) -> Exception | None:
    if demands.credits is None:
        return None
    # The balance first: a form sent twice finds either credits or, after them, the report that took them.
    balance = facts.balance
    needed = facts.credits_for(demands.credits)
    return None if balance >= needed else NotEnoughCredits(needed, balance)


def _has_given_password(demands: Demands, facts: Facts) -> Exception | None:
    # The last of all: nobody is asked for a password in vain.
    return PasswordRequired() if demands.recent and not facts.is_recent else None


CHECKS = (
    *(_is_staff, _signed_in, _account_open, _key_opens, _verified, _has_role),
    *(_has_plan, _has_feature, _has_room, _has_credits, _has_given_password),
)


class _RequestFacts:
    """The facts about this request's visitor, read from the database when first asked for."""

    @cached_property
    def is_signed_in(self) -> bool:
        return person() is not None

    @cached_property
    def brings_key(self) -> bool:
        return api_access.brings_key(request)

    @property
    def is_verified(self) -> bool:
        return bool(current_user.is_verified)

    @property
    def is_staff(self) -> bool:
        return bool(current_user.is_staff)

    @property
    def is_recent(self) -> bool:
        return sessions.is_recent()

    @cached_property
    def account_obstacle(self) -> Exception | None:
        now = acting()
        if now.has_lost and request.method not in SAFE_METHODS:
            return AccountLost()  # what was sent was meant for the other account
        if now.has_lost:
            flash("You no longer belong to the team that you acted for. You act for your own account now.", "warning")
        if now.is_own or seats.FEATURE in self.plan.features:
            return None
        return TeamClosed(self.owner)

    @property
    def role(self) -> str:
        return acting().role

    @property
    def owner(self) -> str:
        return acting().owner

    @property
    def catalog(self) -> Catalog:
        return catalog.current()

    @cached_property
    def plan(self) -> Plan:
        return access.plan_of(db.session(), current_account().id)

    @property
    def balance(self) -> int:
        return statement.balance(db.session(), current_account().id).total

    def room(self, limit: str) -> limits.Room:
        return limits.room(db.session(), current_account().id, limit)

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
