"""Every implemented route is called through the SDK, and nothing that crosses the wire departs from the contract."""

import pytest

from stripe_sandbox import coverage, routes
from tests.sandbox.walks import WALKS


@pytest.mark.parametrize("name", sorted(WALKS))
def test_a_walk_through_the_api_conforms_to_the_contract(sandbox, client, name):
    WALKS[name](sandbox, client)
    assert sandbox.violations == []


def test_every_implemented_route_is_walked(sandbox, client):
    called = set()
    for walk in WALKS.values():
        sandbox.reset()
        sandbox.clock.freeze()
        walk(sandbox, client)
        for row in sandbox.store.rows("SELECT DISTINCT method, path FROM requests"):
            found = routes.find(row["method"], row["path"])
            called |= {found[0].key} if found else set()
    missing = sorted(set(routes.ROUTES) - called)
    assert not missing, f"add these to tests/sandbox/walks.py: {missing}"


def test_every_route_is_one_of_stripes(sandbox):
    strangers = set(routes.ROUTES) - set(sandbox.contract.routes) - coverage.UNDOCUMENTED_IN_SDK
    assert not strangers, f"Stripe has no such routes: {sorted(strangers)}"


def test_the_readme_tells_the_coverage(sandbox):
    assert coverage.table(sandbox.contract) in coverage.README.read_text(encoding="utf-8"), (
        "run `python -m stripe_sandbox coverage` and commit stripe_sandbox/README.md"
    )
