"""The rules of the house, each with its remedy in the message."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import Config

ROOT = Path(__file__).resolve().parents[1]

# Who may import whom: outer layers know inner ones, never the other way round.
INNER = {"extensions", "database", "group_commit", "clock", "config", "failpoints", "prepared"}
ALLOWED = {
    "ledger": INNER,
    "accounts": INNER | {"ledger"},
    "mail": INNER | {"ledger", "accounts"},
    "billing": INNER | {"ledger", "accounts", "mail"},
    "checker": INNER | {"accounts", "ledger"},  # its archive; tests/checker holds that the reading itself is pure
    "projects": INNER | {"accounts", "billing"},
    "support": INNER | {"accounts", "mail"},
    "web": INNER | {"ledger", "accounts", "mail", "billing", "checker"},
    "jobs": INNER | {"ledger", "accounts", "mail", "billing"},
    "blueprints": INNER | {"ledger", "accounts", "mail", "billing", "checker", "projects", "support", "web"},
    "stripe_sandbox": set(),
}
FIRST_PARTY = set(ALLOWED) | INNER | {"app", "commands", "demo", "development", "tests", "bench", "proofs"}

# Flows that commit between two calls to Stripe or to a mail server, because no transaction may stay open meanwhile.
FLOWS = {
    "billing/address_errands.py",
    "billing/card_charges.py",
    "billing/checkout.py",
    "billing/compare.py",
    "billing/customers.py",
    "billing/metered_items.py",
    "billing/outcomes.py",
    "billing/poller.py",
    "billing/price_moves.py",
    "billing/refund_making.py",
    "billing/sync.py",
    "billing/usage_reports.py",
    "mail/outbox.py",
}
EDGES = ("blueprints/", "jobs/", "web/", "commands.py", "demo.py")
REQUEST_NAMES = {"request", "session", "g", "render_template", "redirect", "flash", "url_for"}


def modules(package: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_point_inwards(package: str) -> None:
    for path, tree in modules(package):
        outward = (imported(tree) & FIRST_PARTY) - ALLOWED[package] - {package}
        assert not outward, f"{path} imports {sorted(outward)}: move the code outwards, or pass in what it needs"


def test_only_the_gateway_imports_stripe() -> None:
    for package in set(ALLOWED) - {"stripe_sandbox"}:
        for path, tree in modules(package):
            if path != "billing/gateway.py":
                assert "stripe" not in imported(tree), f"{path} imports stripe: add what it needs to billing/gateway.py"


def test_the_app_and_the_local_stripe_know_nothing_of_each_other() -> None:
    for package in set(ALLOWED) - {"stripe_sandbox"}:
        for path, tree in modules(package):
            assert "stripe_sandbox" not in imported(tree), f"{path}: the app speaks to Stripe, local or not, by HTTP"


@pytest.mark.parametrize("package", ["accounts", "ledger", "billing", "mail"])
def test_the_domain_does_not_know_of_requests(package: str) -> None:
    for path, tree in modules(package):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in {"flask", "flask_login", "flask_wtf"}:
                names = {alias.name for alias in node.names} & (REQUEST_NAMES | {"current_user"})
                assert not names, f"{path} imports {sorted(names)}: the view passes in what the domain needs"


def test_only_edges_and_named_flows_commit() -> None:
    writing = {"database.write", "write", "group_commit.store", "session.commit", "db.session.commit"}
    for package in ALLOWED:
        for path, tree in modules(package):
            if path in FLOWS or path.startswith(EDGES) or package == "stripe_sandbox":
                continue
            for node in ast.walk(tree):
                name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                assert name not in writing, (
                    f"{path} commits: take a session and let the view, the worker or the command line commit"
                )


def test_time_comes_only_from_the_clock() -> None:
    banned = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time"}
    for package in set(ALLOWED) - {"stripe_sandbox"}:
        for path, tree in modules(package):
            for node in ast.walk(tree):
                name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                assert name not in banned, f"{path} asks {name}(): ask clock.now()"


def test_no_module_is_named_after_nothing() -> None:
    banned = {"utils", "helpers", "misc", "common", "manager", "managers", "util", "helper"}
    for package in ALLOWED:
        for path, _ in modules(package):
            assert not banned & set(Path(path).with_suffix("").parts), f"{path}: name it after what it is for"


def test_every_module_and_every_public_function_promises_something() -> None:
    for package in set(ALLOWED) - {"stripe_sandbox"}:
        for path, tree in modules(package):
            assert ast.get_docstring(tree), f"{path}: say in one sentence what the module is for"
            for node in tree.body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                    assert ast.get_docstring(node), f"{path}: {node.name} needs one sentence of promise"


def test_no_file_grows_beyond_reading() -> None:
    for package in ALLOWED:
        for path, _ in modules(package):
            lines = len((ROOT / path).read_text().splitlines())
            assert lines <= 420, f"{path} has {lines} lines: split it by what it is about"


def test_no_template_switches_escaping_off() -> None:
    for path in sorted((ROOT / "templates").rglob("*.html")):
        text = path.read_text()
        assert not re.search(r"\|\s*safe\b|autoescape\s+false", text), f"{path.name}: give the template plain text"


def test_the_example_settings_are_exactly_the_settings() -> None:
    listed = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    fields = {field.name.upper() for field in dataclasses.fields(Config)} - {"STRIPE_PRICE_OVERRIDES"}
    assert listed == fields, "list every setting in .env.example, with a sentence"


def test_every_module_of_billing_has_its_room_in_the_documents() -> None:
    """Remedy: put the name into its row of docs/architecture.md, "The rooms of billing"."""
    rooms = (ROOT / "docs/architecture.md").read_text().partition("## The rooms of billing")[2].partition("\n## ")[0]
    named = re.findall(r"`(\w+)`", rooms)
    assert sorted(named) == sorted(path.stem for path in (ROOT / "billing").glob("[!_]*.py"))


def test_every_path_named_in_the_documents_exists() -> None:
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    pattern = re.compile(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|toml|md|yaml|txt))`")
    for document in filter(Path.exists, documents):
        for named in pattern.findall(document.read_text()):
            if named.startswith(("var/", "http", ".venv")):
                continue
            places = (ROOT / named, document.parent / named)
            assert any(p.exists() for p in places), f"{document.relative_to(ROOT)} names {named}, which is not there"


def test_the_project_names_no_machine_and_no_registry() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    here = "|".join(re.escape(f"{folder}/") for folder in {str(ROOT), str(Path.home())} - {"/"})
    hosts = re.compile(rf"\b(?:pypi|pythonhosted|npmjs|debian)\.(?:org|com|net)\b|{here}")
    for name in filter(None, tracked.split("\0")):
        path = ROOT / name
        if path.suffix in {".png", ".ico", ".woff2"} or not path.exists() or path == Path(__file__):
            continue
        assert not hosts.search(path.read_text(errors="ignore")), f"{name} names a registry's host or a machine's path"


def test_requirements_are_locked_with_hashes_and_name_no_index() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        pins = re.findall(r"^[a-z0-9][\w.\[\]-]*==", text, flags=re.MULTILINE)
        assert len(pins) > 20
        assert text.count("--hash=sha256:") >= len(pins)
        assert "index-url" not in text
        assert "find-links" not in text
