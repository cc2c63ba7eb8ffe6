"""Read a TOML table key by key, remembering every problem with its full key instead of stopping at the first."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

# Keys become part of Stripe's ids, of addresses and of settings' names.
KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
CURRENCY = re.compile(r"[a-z]{3}")


class Table:
    """One table of the catalogue's file; `problems` is shared by the whole file."""

    def __init__(self, content: dict[str, Any], path: str = "", problems: list[str] | None = None) -> None:
        self.content, self.path = content, path
        self.problems: list[str] = [] if problems is None else problems

    def expect(self, *names: str) -> None:
        """Report every key that is not one of these, with the nearest one that is."""
        for key in self.content:
            if key not in names:
                near = difflib.get_close_matches(key, names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(names)}"
                self._report(key, f"is not a key of the catalogue; {hint}")

    def report(self, key: str, problem: str) -> None:
        """Remember a problem that only the caller can see."""
        self._report(key, problem)

    def tables(self, key: str) -> Iterator[tuple[str, Table]]:
        """Yield the named tables below a key, in the file's order."""
        for name, content in self._dict(key).items():
            if not KEY.fullmatch(name):
                self._report(f"{key}.{name}", "must be named in small letters, digits and _, beginning with a letter")
            if isinstance(content, dict):
                yield name, Table(content, f"{self._full(key)}.{name}", self.problems)
            else:
                self._report(f"{key}.{name}", f"must be a table; it is {content!r}")

    def table(self, key: str) -> Table:
        """Return the table below a key; an empty one when it is missing."""
        return Table(self._dict(key), self._full(key), self.problems)

    def text(self, key: str, default: str) -> str:
        """Return a text, or the default when the key is missing."""
        value = self.content.get(key, default)
        if isinstance(value, str):
            return value
        self._report(key, f"must be text; it is {value!r}")
        return default

    def required_text(self, key: str) -> str:
        """Return a text that must be there and say something."""
        if key not in self.content:
            self._report(key, "is missing")
        elif not str(self.content[key]).strip():
            self._report(key, "must not be empty")
        return self.text(key, "")

    def choice(self, key: str, options: tuple[str, ...], default: str) -> str:
        """Return one of a few words, or the default when the key is missing."""
        value = self.text(key, default)
        if value in options:
            return value
        self._report(key, f"must be one of {', '.join(options)}; it is {value!r}")
        return default

    def word(
        self,
        key: str,
        default: str,
        *,
        pattern: re.Pattern[str] = KEY,
        wanted: str = "small letters, digits and _, beginning with a letter",
    ) -> str:
        """Return a text that a pattern matches."""
        value = self.text(key, default)
        if not pattern.fullmatch(value):
            self._report(key, f"must be {wanted}; it is {value!r}")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; none when the key is missing."""
        value = self.content.get(key, [])
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return tuple(value)
        self._report(key, f"must be a list of words; it is {value!r}")
        return ()

    def flag(self, key: str) -> bool:
        """Return true or false; false when the key is missing."""
        value = self.content.get(key, False)
        if isinstance(value, bool):
            return value
        self._report(key, f"must be true or false; it is {value!r}")
        return False

    def number(self, key: str, default: int, *, at_least: int = 0, at_most: int) -> int:
        """Return a whole number, or the default when the key is missing."""
        value = self.content.get(key, default)
        unit = " of cents" if key.endswith("_cents") or key.startswith("cents_") else ""
        # true is a whole number to Python, and to nobody else.
        if not isinstance(value, int) or isinstance(value, bool):
            self._report(key, f"must be a whole number{unit}; it is {value!r}")
        elif not at_least <= value <= at_most:
            self._report(key, f"must be a whole number{unit} from {at_least} to {at_most}; it is {value}")
        else:
            return value
        return default

    def required_number(self, key: str, *, at_most: int) -> int:
        """Return a whole number from 1 that must be there."""
        if key not in self.content:
            self._report(key, "is missing")
            return 1
        return self.number(key, 1, at_least=1, at_most=at_most)

    def optional_number(self, key: str, *, at_most: int) -> int | None:
        """Return a whole number from 1; None when the key is missing."""
        return self.number(key, 1, at_least=1, at_most=at_most) if key in self.content else None

    def numbers(self, key: str, *, at_least: int, at_most: int) -> dict[str, int]:
        """Return a table of whole numbers by name."""
        table = self.table(key)
        return {name: table.number(name, 0, at_least=at_least, at_most=at_most) for name in table.content}

    def _dict(self, key: str) -> dict[str, Any]:
        value = self.content.get(key, {})
        if isinstance(value, dict):
            return value
        self._report(key, f"must be a table; it is {value!r}")
        return {}

    def _full(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _report(self, key: str, problem: str) -> None:
        self.problems.append(f"{self._full(key)}: {problem}")
