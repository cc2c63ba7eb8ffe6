"""The proofs, small: the whole ones are `make proof` (docs/proofs.md)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proofs import __main__ as harness
from proofs import aliasing, chaos, convergence, faulty_handlers, poller_only, stripe_trouble
from proofs.shop import open_shop


def test_nothing_is_lost_when_web_and_worker_are_killed() -> None:
    result = chaos.prove("sqlite", deliveries=40, kills=2, people=5, seed=1)
    assert result.problems == []
    assert result.kills >= 2
    assert result.deliveries >= 40


def test_slow_answers_leave_nothing_stale() -> None:
    tally = convergence.prove("sqlite", histories=1, steps=80, seed=101)
    assert tally.problems == []
    assert tally.slow > 0


@pytest.mark.parametrize(
    "words",
    [
        "increments once per event id, though one change may come as two events",
        "marks the work as done before it is done",
        "subtracts the refund each time it hears of one",
    ],
)
def test_a_faulty_handler_is_caught(words: str) -> None:
    with open_shop("sqlite") as shop:
        assert faulty_handlers.caught_after(shop, words, faulty_handlers.MOST_HISTORIES) is not None
    assert len(faulty_handlers.FAULTS) >= 12


def test_a_payment_heard_of_in_every_way_counts_once() -> None:
    tally = aliasing.prove("sqlite", payments=5, seed=1)
    assert tally.problems == []
    assert tally.notices > 10 * tally.payments


def test_the_poller_alone_brings_everything() -> None:
    tally = poller_only.prove("sqlite", objects=15, seed=1)
    assert tally.problems == []
    assert tally.naps > 0


def test_trouble_at_stripe_loses_nothing() -> None:
    tally = stripe_trouble.prove("sqlite", rounds=1, seed=1)
    assert tally.problems == []
    assert tally.deliveries > 0


def test_the_table_counts_what_was_found_and_the_status_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def run(*, quick: bool, engines: list[str]) -> list[dict[str, object]]:
        row = {"name": "a proof", "wrong": 1, "tried": 2000, "seed": 7, "seconds": 0.5, "note": "quick"}
        return [row] if quick and engines == ["sqlite"] else []

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(aliasing, "run", run)
    assert harness.main(["aliasing", "--quick", "--database", "sqlite"]) == 1
    assert "1 of 2,000" in capsys.readouterr().out
    assert json.loads((tmp_path / "var" / "proof.json").read_text())[0]["wrong"] == 1


def test_a_proof_that_breaks_off_has_found_something(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def run(**_: object) -> list[dict[str, object]]:
        raise TimeoutError("no progress")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(aliasing, "run", run)
    assert harness.main(["aliasing"]) == 1
    assert "broke off: TimeoutError: no progress" in capsys.readouterr().out
