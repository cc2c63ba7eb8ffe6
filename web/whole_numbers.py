"""Whole numbers in forms."""

from __future__ import annotations

from wtforms import IntegerField

MOST_DIGITS = 18
WORDS = "Use a whole number, such as 20."


class WholeNumberField(IntegerField):  # type: ignore[misc]
    """A whole number of at most 18 digits: longer ones fit no column, and WTForms' NumberRange breaks on them."""

    def process_formdata(self, valuelist: list[str]) -> None:
        """Take in what was sent; raises ValueError with the words for the page."""
        if valuelist and len(valuelist[0].strip()) > MOST_DIGITS:
            self.data = None
            raise ValueError(WORDS)
        try:
            super().process_formdata(valuelist)
        except ValueError as error:
            raise ValueError(WORDS) from error
