"""How templates are loaded: as Flask does it, without what Jinja does for sites whose templates have own globals."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from flask.templating import Environment


class SharedGlobals(Environment):
    """An environment whose templates all see the same globals.

    Jinja gives each template a layer of its own over the environment's, and compares the layers whenever a template
    imports a macro, a dozen times a page. None of our templates is loaded with globals of its own.
    """

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """Return the environment's own globals, unless the loader was given further ones."""
        return super().make_globals(d) if d else self.globals
