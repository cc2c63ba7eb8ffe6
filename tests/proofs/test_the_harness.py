"""The harness of the proofs; the proofs themselves run small in .ci/run and whole by `make proof` (docs/proofs.md)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from flask import Flask

from proofs import __main__ as harness
from proofs import aliasing, faulty_handlers, idempotency, registry
from proofs.registry import Outcome, Proof
from proofs.shop import open_shop

ROOT = Path(__file__).resolve().parents[2]


def test_the_documents_list_exactly_the_proofs_there_are() -> None:
    text = (ROOT / "docs" / "proofs.md").read_text()
    listed = set(re.findall(r"^\| ([QRS]\d+) \| `proofs/(\w+)\.py` \|", text, flags=re.MULTILINE))
    assert listed == {(entry.number, entry.module) for entry in harness._all()}, (
        "give every proof of `python -m proofs --list` its row in docs/proofs.md"
    )


def test_every_form_is_sent_often_or_moves_no_money(app: Flask) -> None:
    assert idempotency.unlisted(app) == []


def test_every_proof_runs_on_both_databases_and_smaller_when_quick() -> None:
    for entry in harness._all():
        assert entry.engines, f"{entry.module} runs on no database"
        assert entry.quick.keys() == entry.whole.keys(), f"{entry.module} has other sizes when quick"
        for engine in entry.engines:
            small, large = entry.sizes(engine, quick=True), entry.sizes(engine, quick=False)
            assert all(small[name] <= size for name, size in large.items()), f"{entry.module} grows when quick"


def test_whatever_can_be_run_is_registered() -> None:
    registered = {entry.module for entry in harness._all()}
    for path in (ROOT / "proofs").glob("*.py"):
        if re.search(r"^def (run|main)\(", path.read_text(), flags=re.MULTILINE):
            assert path.stem in {*registered, "__main__", "registry"}, f"{path.name}: register it (proofs/registry.py)"


@pytest.mark.parametrize(
    "words",
    [
        "increments once per event id, though one change may come as two events",
        "marks the work as done before it is done",
    ],
)
def test_a_faulty_handler_is_caught(words: str) -> None:
    with open_shop("sqlite") as shop:
        assert faulty_handlers.caught_after(shop, words, faulty_handlers.MOST_HISTORIES) is not None


def test_a_proof_that_finds_something_is_counted_and_the_status_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    entry = _entry(lambda engine, *, seed, payments: Outcome(payments, ["one is lost"], f"payments on {engine}"))
    rows = [registry.run(entry, "sqlite", quick=True), registry.run(entry, "sqlite", quick=False)]
    assert harness._conclude(rows, [], quick=True, seconds=1.0) == 1
    said = capsys.readouterr().out
    assert "1 of 2,000" in said
    assert "one is lost" in said
    kept = json.loads((tmp_path / "var" / "proof.json").read_text())
    assert [row["tried"] for row in kept["rows"]] == [10, 2000]
    assert kept["versions"]["sqlite"]


def test_nothing_found_is_no_failure_and_nothing_run_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    entry = _entry(lambda engine, *, seed, payments: Outcome(payments))
    assert harness._conclude([registry.run(entry, "sqlite", quick=True)], [], quick=True, seconds=1.0) == 0
    assert harness._conclude([], ["sqlite"], quick=True, seconds=0.0) == 1
    assert "0 of 10" in capsys.readouterr().out


def test_a_proof_that_breaks_off_has_found_something(capsys: pytest.CaptureFixture[str]) -> None:
    def measure(engine: str, *, seed: int, payments: int) -> Outcome:
        raise TimeoutError("no progress")

    row = harness._run_here(_entry(measure), "sqlite", quick=True)
    assert (row["wrong"], row["problems"]) == (1, ["broke off: TimeoutError: no progress"])
    assert "Traceback" in capsys.readouterr().err


def test_a_proof_runs_as_a_process_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    entry = next(entry for entry in harness._all() if entry.measure is aliasing.measure)
    row = harness._run_apart(entry, "sqlite", quick=True)
    assert (row["wrong"], row["tried"], row["database"]) == (0, 10, "sqlite")
    assert "0 of 10" in capsys.readouterr().out


def _entry(measure: registry.Measure) -> Proof:
    return Proof(
        "R0", "a proof", "0 wrong", measure, {"payments": 10}, {"payments": {"sqlite": 2_000}}, ("sqlite",), False, 7
    )
