"""Why a text cannot be checked; each error carries the facts that the page needs to say what to do."""

from __future__ import annotations


class UnusableText(Exception):
    """A text that cannot be checked, and for which nothing is charged; `field` names the input it came from."""

    def __init__(self, message: str, *, field: str = "text") -> None:
        super().__init__(message)
        self.field = field


class TextMissing(UnusableText):
    """There is no text at all."""

    def __init__(self, *, field: str = "text") -> None:
        super().__init__("no text", field=field)


class TextTooShort(UnusableText):
    """Too few words to say anything honest about."""

    def __init__(self, words: int, minimum: int, *, field: str = "text") -> None:
        super().__init__(f"{words} words, at least {minimum} needed", field=field)
        self.words = words
        self.minimum = minimum


class TextTooLong(UnusableText):
    """More characters or words than one report covers; `unit` says which of the two was counted."""

    def __init__(self, length: int, maximum: int, *, unit: str, field: str = "text") -> None:
        super().__init__(f"{length} {unit}, at most {maximum} allowed", field=field)
        self.length = length
        self.maximum = maximum
        self.unit = unit


class NotText(UnusableText):
    """A file's bytes, a table of numbers, or noise: something, but no readable text."""

    def __init__(self, reason: str, *, field: str = "text") -> None:
        super().__init__(reason, field=field)
        self.reason = reason
