"""Failpoints: each stands where its name says, a typo is refused, and only a proof may arm one."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import failpoints
from billing import sync
from billing.stripe_changes import Kind
from config import Config
from tests.test_config import GOOD, PUBLIC, problems

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = {"tests", "proofs", "bench", "migrations", "stripe_sandbox", ".venv"}


def placed() -> set[str]:
    """Return the points that stand in the code; those of several kinds by what is before the kind."""
    found = set()
    for path in ROOT.rglob("*.py"):
        if path.relative_to(ROOT).parts[0] in LEFT_OUT:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "failpoints.hit":
                name = ast.literal_eval(node.args[0])
                found.add(name if len(node.args) == 1 else f"{name}.*")
    return found


def test_every_point_in_the_code_is_registered_and_every_registered_one_is_in_the_code() -> None:
    several = {f"sync.{step}.*": failpoints.SYNCED for step in failpoints.STEPS}
    several["catalog.applied.*"] = failpoints.PUSHED
    wanted = set(failpoints.POINTS)
    for family, kinds in several.items():
        members = {family.replace("*", kind) for kind in kinds}
        wanted = (wanted - members) | {family}
    assert placed() == wanted, "a point needs its name in failpoints.py, and a name its place"
    assert len(failpoints.POINTS) >= 60


def test_the_kinds_are_those_that_are_synced_and_pushed() -> None:
    assert set(failpoints.SYNCED) == set(sync.KINDS)
    assert set(failpoints.PUSHED) <= {kind.value for kind in Kind}


@pytest.mark.parametrize("spec", ["ingest.stored", "ingest.stored:1", "ingest.stored:2"])
def test_the_process_ends_at_the_hit_that_was_asked_for(spec: str) -> None:
    hits = "".join(f"failpoints.hit('ingest.stored'); print({number}, flush=True);" for number in (1, 2, 3))
    code = f"import failpoints; failpoints.arm({spec!r}); failpoints.hit('ingest.marked'); {hits}"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == failpoints.STATUS
    assert ended.stdout.split() == (["1"] if spec.endswith(":2") else [])
    assert "ingest.stored" in ended.stderr


@pytest.mark.parametrize("spec", ["ingest.stord", "ingest.stored:0", "ingest.stored:x", "ingest", ":2", "a b"])
def test_a_point_that_does_not_exist_is_refused(spec: str) -> None:
    with pytest.raises(failpoints.UnknownPoint):
        failpoints.arm(spec)
    assert "- FAILPOINT " in problems({**GOOD, "FAILPOINT": spec})


def test_a_point_that_is_hit_under_an_unknown_name_is_refused_while_somebody_listens() -> None:
    failpoints.hit("ingest.stord")
    failpoints.listen(lambda _: None)
    try:
        with pytest.raises(failpoints.UnknownPoint):
            failpoints.hit("ingest.stord")
    finally:
        failpoints.listen(None)


def test_a_public_site_refuses_failpoints_unless_told_otherwise_and_a_live_one_always() -> None:
    armed = {"FAILPOINT": "ingest.stored:2"}
    assert Config.from_env({**GOOD, **armed}).failpoint == "ingest.stored:2"
    assert "- FAILPOINT " in problems({**PUBLIC, **armed})
    assert Config.from_env({**PUBLIC, **armed, "ALLOW_FAILPOINTS": "yes"}).is_public
    live = {**PUBLIC, "STRIPE_SECRET_KEY": "sk_live_x"}
    assert Config.from_env(live).is_live
    assert "- FAILPOINT " in problems({**live, **armed, "ALLOW_FAILPOINTS": "yes"})
    assert "- ALLOW_FAILPOINTS " in problems({**GOOD, "ALLOW_FAILPOINTS": "perhaps"})
