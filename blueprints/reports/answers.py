"""What the product's own errors say; its rows of the table in web/answers.py."""

from __future__ import annotations

from checker import errors
from web import filters
from web.answers import Answer


class PriceChanged(Exception):
    """The text costs something else than the visitor was shown; nobody pays a price they have not seen."""

    status = 409

    def __init__(self, credits: int, shown: int | None) -> None:
        super().__init__(f"{credits} credits, {shown} were shown")
        self.credits = credits
        self.shown = shown


def ensure_price(credits: int, *, shown: str | int | None) -> None:
    """Raise PriceChanged unless this is the price that was shown."""
    given = str(shown if shown is not None else "")
    # No price has ten digits, and Python refuses to read thousands of them.
    seen = int(given) if given.isdecimal() and len(given) < 10 else None
    if seen != credits:
        raise PriceChanged(credits, seen)


def _too_long(error: errors.TextTooLong) -> str:
    return (
        f"This has {error.length:,} {error.unit}; {error.maximum:,} are the most we check at once. Nothing was charged."
    )


ANSWERS: dict[type[Exception], Answer] = {
    errors.TextMissing: Answer(
        400,
        "text-missing",
        "There is no text",
        lambda e: "Paste the text of your CV.",
        lambda e: {"field": e.field},
        about="The request holds no text.",
    ),
    errors.TextTooShort: Answer(
        422,
        "text-too-short",
        "This is too short to judge",
        lambda e: f"These are {e.words:,} words; paste the whole CV, at least {e.minimum}. Nothing was charged.",
        lambda e: {"field": e.field, "words": e.words, "minimum": e.minimum},
        about="The text has too few words to say anything honest about it. Nothing was charged.",
    ),
    errors.TextTooLong: Answer(
        413,
        "text-too-long",
        "This is too long for a CV",
        _too_long,
        lambda e: {"field": e.field, "length": e.length, "maximum": e.maximum, "unit": e.unit},
        about="The text is longer than one report covers. Nothing was charged.",
    ),
    errors.NotText: Answer(
        422,
        "not-text",
        "This is not readable text",
        lambda e: f"This cannot be read: {e.reason}. Open the file, copy its text and paste that. Nothing was charged.",
        lambda e: {"field": e.field},
        about="What was sent is not text: a file's bytes, numbers, or noise. Nothing was charged.",
    ),
    PriceChanged: Answer(
        409,
        "price-changed",
        "The price is another one now",
        lambda e: (
            f"This costs {filters.credits(e.credits)}. Look at the new price and send it again; nothing was charged."
        ),
        lambda e: {"credits": e.credits, "shown": e.shown},
        about="The work costs something else than was agreed to. Nothing was charged.",
    ),
}
