"""docs/catalogue.md explains exactly the keys that the catalogue knows."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from billing import catalog, catalog_file
from billing.catalog import Policies

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "catalogue.md").read_text()
# Tables whose names are the product's own.
FREE = {"costs", "plans.<key>.limits"}

EVERYTHING = """
[policies]
[features.one]
name = "One"
[costs]
page = 1
[meters.events]
name = "Events"
[plans.free]
name = "Free"
limits.events = 0
[plans.pro]
name = "Pro"
limits.events = 10
monthly_cents = 100
overage.events.cents_per_1000 = 5
[packs.small]
credits = 1
amount_cents = 100
[promotions.welcome]
name = "Welcome"
percent_off = 10
"""


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The keys that the catalogue asks for while it reads a file with one of everything, by table."""
    asked: dict[str, set[str]] = {}
    expect = catalog_file.Table.expect

    def listen(table: catalog_file.Table, *names: str) -> None:
        path = re.sub(r"^(features|meters|plans|packs|promotions)\.\w+", r"\1.<key>", table.path)
        asked.setdefault(re.sub(r"overage\.\w+", "overage.<meter>", path), set()).update(names)
        expect(table, *names)

    monkeypatch.setattr(catalog_file.Table, "expect", listen)
    path = tmp_path / "everything.toml"
    path.write_text(EVERYTHING)
    catalog.load(str(path))
    return asked


def explained() -> dict[str, set[str]]:
    """The keys in the tables of the page, by the table of the file that their heading names."""
    sections = re.split(r"^#{2,3} ", PAGE, flags=re.MULTILINE)[1:]
    found: dict[str, set[str]] = {}
    for section in sections:
        heading = section.splitlines()[0]
        table = re.search(r"`\[([^\]]+)\]`", heading)
        if table or heading == "The file itself":
            found[table[1] if table else ""] = set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE))
    return found


def test_every_key_of_the_catalogue_is_explained_and_no_other(known: dict[str, set[str]]) -> None:
    page = explained()
    assert set(page) - set(known) == FREE, "a heading of docs/catalogue.md names a table that the catalogue has not"
    for table, keys in known.items():
        assert page.get(table) == keys, f"docs/catalogue.md: explain exactly the keys of [{table}]"


def test_the_defaults_on_the_page_are_the_defaults() -> None:
    for policy in fields(Policies):
        assert f"| `{policy.name}` | {policy.default} |" in PAGE


def test_the_presets_on_the_page_are_the_presets() -> None:
    for name, path in catalog.PRESETS.items():
        assert re.search(rf"^CATALOG={name} +{re.escape(path.relative_to(ROOT).as_posix())}:", PAGE, re.MULTILINE)
