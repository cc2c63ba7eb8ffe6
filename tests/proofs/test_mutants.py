"""The faults that tests must notice: what is changed, what is left alone, and that survivors are named."""

from __future__ import annotations

import ast
import json
import tomllib
from pathlib import Path

import pytest

from proofs.mutants import __main__ as mutants
from proofs.mutants import mutations

SOURCE = '''
LIMIT = 5

@decorated(1)
def take(credits: int = 3) -> int:
    """Take some: 7."""
    if not credits < LIMIT and credits:
        raise ValueError(f"{credits + 1} are too many")
    failpoints.hit("take.counted")
    note(credits)
    return max(credits, 0)

class Row:
    width = 20
    def half(self):
        def cut(of): return of / 2
        return cut(*zip(self.width, strict=True))
'''


def changes() -> list[tuple[str, str]]:
    return [(mutant.where, mutant.change) for mutant in mutations.find(ast.parse(SOURCE))]


def test_every_operator_number_guard_call_and_result_is_changed_once() -> None:
    head = "if not credits < LIMIT and credits:"
    assert changes() == [
        ("", "LIMIT = 5  ->  LIMIT = 6"),
        ("take", f"{head}  ->  if not (not credits < LIMIT and credits):"),
        ("take", f"{head}  ->  if not credits < LIMIT or credits:"),
        ("take", f"{head}  ->  if credits < LIMIT and credits:"),
        ("take", f"{head}  ->  if not credits <= LIMIT and credits:"),
        ("take", "raise ValueError(f'{credits + 1} are too many')  ->  pass"),
        ("take", "note(credits)  ->  pass"),
        ("take", "return max(credits, 0)  ->  return None"),
        ("take", "return max(credits, 0)  ->  return min(credits, 0)"),
        ("take", "return max(credits, 0)  ->  return max(credits, 1)"),
        ("Row.half", "return of / 2  ->  return None"),
        ("Row.half", "return of / 2  ->  return of * 2"),
        ("Row.half", "return of / 2  ->  return of / 3"),
        ("Row.half", "return cut(*zip(self.width, strict=True))  ->  return None"),
    ]


def test_a_change_can_be_taken_back() -> None:
    tree = ast.parse(SOURCE)
    before = ast.dump(tree)
    for mutant in mutations.find(tree):
        mutant.switch_on()
        assert ast.dump(tree) != before
        mutant.switch_off()
        assert ast.dump(tree) == before


def test_faults_that_no_test_notices_are_named_and_fail_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    one_test = "tests/ledger/test_granting.py::test_a_grant_fills_the_balance_and_names_its_source"
    assert mutants.main(["ledger/locking.py", "--jobs", "1", "--tests", one_test]) == 1
    said = capsys.readouterr().out
    assert "unreached lock: buckets.expire(wallet)  ->  pass" in said
    assert "survived  lock: if wallet.has_credits_due:  ->  if not wallet.has_credits_due:" in said
    assert "1 of 3 faults killed (33.3 %), 2 lines or branches not reached" in said


def test_only_what_is_known_to_be_killed_is_not_tried_again(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    assert mutants._killed_before(kept) == set()
    found = [
        ("a < b", 0, "survived"),
        ("a < b", 0, "killed"),
        ("c", 0, "killed"),
        ("c", 1, "survived"),
        ("d", 0, "timeout"),
    ]
    fault = {"module": "ledger/locking.py", "where": "lock"}
    lines = [json.dumps({**fault, "change": change, "twin": twin, "end": end}) for change, twin, end in found]
    kept.write_text("\n".join(lines))
    assert {change for _, _, change in mutants._killed_before(kept)} == {"a < b", "d"}


def test_what_one_database_cannot_reach_the_other_may() -> None:
    lines = {"covered": "billing/inbox.py", "lines": 9, "branches": 4}
    on_sqlite = [
        {**lines, "missing": [7, 8], "partial": {"6": [7], "9": [10, 11]}},
        {"number": 1, "end": "unreached"},
        {"number": 2, "end": "killed"},
        {"number": 3, "end": "survived"},
    ]
    on_postgresql = [
        {**lines, "missing": [8], "partial": {"9": [11]}},
        {"number": 1, "end": "killed"},
        {"number": 3, "end": "unreached"},
    ]
    assert mutants._both(on_sqlite, on_postgresql) == [
        {**lines, "missing": [8], "partial": {"9": {11}}},
        {"number": 1, "end": "killed"},
        {"number": 2, "end": "killed"},
        {"number": 3, "end": "survived"},
    ]


def test_every_fault_that_is_excused_still_exists_and_says_why() -> None:
    excused = tomllib.loads(mutants.EQUIVALENTS.read_text())["equivalent"]
    for fault in excused:
        found = mutations.find(ast.parse((mutants.ROOT / fault["module"]).read_text()))
        assert (fault["where"], fault["change"]) in {(each.where, each.change) for each in found}, fault["change"]
        assert len(fault["reason"]) > 40
