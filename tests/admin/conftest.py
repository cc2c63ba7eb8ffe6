"""What the stories of the back office share: somebody of staff, and a customer."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.admin.office import Office
from tests.persons import hire, sign_up
from tests.worlds import Stripe


@pytest.fixture
def office(app: Flask, stripe: Stripe) -> Office:
    """A member of staff at work."""
    return Office(hire(sign_up(app, "staff@example.com")), stripe)
