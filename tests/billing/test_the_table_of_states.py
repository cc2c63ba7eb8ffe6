"""docs/billing.md says of each state exactly what the code says, and its diagram has exactly the steps of the code."""

from __future__ import annotations

import re

from billing import states
from billing.states import RULES, STEPS, State
from tests.conftest import ROOT

GUIDE = (ROOT / "docs/billing.md").read_text()


def table() -> list[str]:
    rows = [
        f"| {state.replace('_', ' ')} | {rule.at_stripe} | {rule.opens} | {', '.join(rule.ways)} |"
        for state, rule in RULES.items()
    ]
    return ["| state | at Stripe | what is open | ways out on the billing page |", "|---|---|---|---|", *rows]


def diagram() -> list[str]:
    return [
        "stateDiagram-v2",
        f"    [*] --> {State.FREE}",
        *(f"    {before} --> {after}: {what}" for before, after, what in STEPS),
    ]


def test_the_guides_table_is_the_codes() -> None:
    wanted = "\n".join(table())
    assert wanted in GUIDE, f"put this table into docs/billing.md:\n{wanted}"


def test_the_guides_diagram_is_the_codes() -> None:
    found = re.search(r"```mermaid\n(.*?)\n```", GUIDE, re.DOTALL)
    wanted = "\n".join(diagram())
    assert found and found[1] == wanted, f"put this diagram into docs/billing.md:\n{wanted}"


def test_every_state_has_its_row_a_way_in_and_a_way_out() -> None:
    assert set(RULES) == set(State)
    assert {before for before, _, _ in STEPS} == set(State)
    assert {after for _, after, _ in STEPS} == set(State) - {State.FREE}
    assert all(rule.ways for rule in RULES.values())
    assert len(set(STEPS)) == len(STEPS)
    assert states.state_of(None) is State.FREE
