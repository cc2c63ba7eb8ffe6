"""The decision at the gate, as a function of facts and demands, and that it is enforced in one order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import pytest
from flask import Flask

from billing import catalog, limits
from billing.catalog import Catalog, Plan
from billing.errors import LimitReached, PlanRequired, TeamClosed
from ledger.errors import NotEnoughCredits
from tests.persons import sign_up
from web import gates
from web.gates import Demands
from web.refusals import LoginRequired, PasswordRequired, RoleRequired, VerificationRequired

CATALOG = catalog.load("cv")


@dataclass(frozen=True)
class Visitor:
    """Facts that a test chose."""

    is_signed_in: bool = True
    brings_key: bool = False
    is_verified: bool = True
    is_recent: bool = True
    account_obstacle: Exception | None = None
    role: str = "owner"
    owner: str = "ann@example.com"
    plan: Plan = CATALOG.free_plan
    balance: int = 0
    catalog: Catalog = CATALOG
    usage: dict[str, int] = field(default_factory=dict)

    def room(self, limit: str) -> limits.Room:
        return limits.Room(limit, self.usage[limit], limits.allowed(self.plan, limit))

    def credits_for(self, cost: gates.Cost) -> int:
        return self.catalog.costs[cost] if isinstance(cost, str) else int(cost)  # type: ignore[arg-type]


NOBODY = Visitor(is_signed_in=False, is_verified=False)
EVERYTHING = Demands(verified=True, role="admin", plan="pro", feature="history", limit="projects", credits=5)
PRO = CATALOG.plan("pro")


def test_a_password_that_was_given_long_ago_is_asked_for_after_everything_else() -> None:
    long_ago = Visitor(is_recent=False, role="member")
    assert isinstance(gates.refusal(Demands(role="admin", recent=True), long_ago), RoleRequired)
    assert isinstance(gates.refusal(Demands(role=None, recent=True), long_ago), PasswordRequired)
    assert gates.refusal(Demands(role=None), long_ago) is None


def with_limit(plan: Plan, allowed: int) -> Plan:
    return replace(plan, limits={"projects": allowed})


def test_a_public_view_asks_nothing() -> None:
    assert gates.refusal(Demands(login=False), NOBODY) is None


def test_a_view_that_says_nothing_asks_for_a_login() -> None:
    assert isinstance(gates.refusal(Demands(), NOBODY), LoginRequired)
    assert gates.refusal(Demands(), Visitor()) is None


def test_demands_are_met_in_one_order_whatever_is_missing() -> None:
    order = [
        *(LoginRequired, TeamClosed, VerificationRequired, RoleRequired),
        *(PlanRequired, LimitReached, NotEnoughCredits),
    ]
    for met in product([False, True], repeat=len(order)):
        signed_in, is_open, verified, has_role, has_plan, has_room, has_credits = met
        visitor = Visitor(
            is_signed_in=signed_in,
            account_obstacle=None if is_open else TeamClosed("ann@example.com"),
            is_verified=verified,
            role="admin" if has_role else "member",
            plan=with_limit(PRO if has_plan else CATALOG.free_plan, 3 if has_room else 2),
            balance=5 if has_credits else 4,
            usage={"projects": 2},
        )
        refused = gates.refusal(EVERYTHING, visitor)
        expected = next((kind for kind, is_met in zip(order, met, strict=True) if not is_met), None)
        assert (type(refused) if refused else None) is expected


def test_a_page_about_the_person_is_open_whatever_account_they_act_for() -> None:
    closed = Visitor(account_obstacle=TeamClosed("ann@example.com"))
    assert isinstance(gates.refusal(Demands(), closed), TeamClosed)
    assert gates.refusal(Demands(personal=True), closed) is None


@pytest.mark.parametrize(("role", "may_enter"), [("owner", True), ("admin", True), ("member", False)])
def test_a_role_or_a_higher_one_opens(role: str, may_enter: bool) -> None:
    assert (gates.refusal(Demands(role="admin"), Visitor(role=role)) is None) is may_enter


def test_a_missing_feature_names_the_plans_that_have_it() -> None:
    refused = gates.refusal(Demands(feature="history"), Visitor())
    assert isinstance(refused, PlanRequired)
    assert (refused.feature, refused.plans) == ("history", ("basic", "pro", "team"))


def test_a_feature_that_nothing_sold_has_is_closed_to_everybody() -> None:
    for plan in CATALOG.plans:
        refused = gates.refusal(Demands(feature="time_travel"), Visitor(plan=plan))
        assert isinstance(refused, PlanRequired)
        assert refused.plans == ()


@pytest.mark.parametrize(("plan", "may_enter"), [("free", False), ("basic", False), ("pro", True), ("team", True)])
def test_a_plan_or_a_later_one_opens(plan: str, may_enter: bool) -> None:
    refused = gates.refusal(Demands(plan="pro"), Visitor(plan=CATALOG.plan(plan)))
    assert (refused is None) is may_enter


def test_a_plan_that_is_not_sold_opens_nothing() -> None:
    assert isinstance(gates.refusal(Demands(plan="platinum"), Visitor(plan=PRO)), PlanRequired)


@pytest.mark.parametrize(
    ("allowed", "used", "may_enter"), [(3, 2, True), (3, 3, False), (3, 4, False), (0, 0, False), (-1, 10_000, True)]
)
def test_a_limit_leaves_room_for_one_more(allowed: int, used: int, may_enter: bool) -> None:
    visitor = Visitor(plan=with_limit(PRO, allowed), usage={"projects": used})
    refused = gates.refusal(Demands(limit="projects"), visitor)
    assert (refused is None) is may_enter


def test_a_plan_that_does_not_name_a_limit_allows_none() -> None:
    refused = gates.refusal(Demands(limit="projects"), Visitor(plan=PRO, usage={"projects": 0}))
    assert isinstance(refused, LimitReached)
    assert (refused.used, refused.allowed) == (0, 0)


@pytest.mark.parametrize(
    ("cost", "balance", "may_enter"), [(1, 0, False), (1, 1, True), ("cv_page", 1, True), (0, 0, True)]
)
def test_credits_must_cover_the_cost(cost: gates.Cost, balance: int, may_enter: bool) -> None:
    refused = gates.refusal(Demands(credits=cost), Visitor(balance=balance))
    assert (refused is None) is may_enter


def test_two_gates_on_one_view_are_refused_at_import() -> None:
    with pytest.raises(TypeError, match="two gates"):

        @gates.public
        @gates.requires(feature="history")
        def view() -> str:
            return "open or closed?"


def test_demands_are_found_whatever_wraps_the_view(app: Flask) -> None:
    # Flask-Limiter and the like wrap views; a gate below or above them must hold the same.
    for endpoint in ("billing.start_checkout", "billing.success"):
        with app.app_context():
            assert hasattr(app.view_functions[endpoint], gates.STORED_AS)


def test_templates_ask_the_same_decision(app: Flask) -> None:
    person = sign_up(app)
    with app.test_request_context():
        assert app.jinja_env.from_string("{{ may('history') }}").render() == "False"
    page = person.client.get("/cv").get_data(as_text=True)
    assert 'href="/cv/history"' not in page
