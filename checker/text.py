"""Turn pasted text into lines and words, count its pages, and refuse what is no text."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from checker.errors import NotText, TextMissing, TextTooLong, TextTooShort

# A single-spaced page of 11 or 12 point type holds about 500 words. CVs carry fewer, so counting words instead of
# layout never charges more pages than the reader sees on paper.
WORDS_PER_PAGE = 500
MIN_WORDS = 50
MAX_WORDS = 5_000
MAX_CHARACTERS = 60_000
MAX_ADVERT_CHARACTERS = 20_000

BULLET = re.compile(r"^\s*(?:[-*+•●▪■◦‣∙·–—»>✓✔➢►]|o(?=\s)|\d{1,2}[.)])\s+")
WORD = re.compile(r"[^\W_](?:[^\W_]|['’.&/+#-](?=[^\W_]))*(?:\+\+|#)?")
INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
FILE_STARTS = {
    "%PDF": "a PDF file",
    "PK\x03\x04": "a Word or ZIP file",
    "{\\rtf": "an RTF file",
    "\x89PNG": "a picture",
}


@dataclass(frozen=True)
class Line:
    """One line of the text without its bullet; wrapped bullets are joined into one line."""

    number: int
    text: str
    is_bullet: bool

    @property
    def words(self) -> list[str]:
        return words_of(self.text)


@dataclass(frozen=True)
class Document:
    """A readable text: its non-empty lines and its number of words."""

    lines: tuple[Line, ...]
    word_count: int

    @property
    def pages(self) -> int:
        return pages_of(self.word_count)

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)


def read(text: str) -> Document:
    """Return the text as a document.

    Raises TextMissing, TextTooShort (under 50 words), TextTooLong (over 5,000 words or 60,000 characters) and NotText.
    """
    clean = _cleaned(text, maximum=MAX_CHARACTERS, field="text")
    count = count_words(clean)
    _refuse_noise(clean, count)
    if count < MIN_WORDS:
        raise TextTooShort(count, MIN_WORDS)
    if count > MAX_WORDS:
        raise TextTooLong(count, MAX_WORDS, unit="words")
    return Document(lines=tuple(_lines(clean)), word_count=count)


def read_advert(text: str) -> Document | None:
    """Return a job advert as a document, None when there is none; raises TextTooLong and NotText."""
    if not text.strip():
        return None
    clean = _cleaned(text, maximum=MAX_ADVERT_CHARACTERS, field="advert")
    return Document(lines=tuple(_lines(clean)), word_count=count_words(clean))


def count_words(text: str) -> int:
    """Count words as a word processor does: pieces between spaces that hold a letter or a digit."""
    return sum(1 for piece in text.split() if any(c.isalnum() for c in piece))


def pages_of(words: int) -> int:
    """Return the pages that a number of words fills; a started page counts."""
    return max(1, math.ceil(words / WORDS_PER_PAGE))


def words_of(text: str) -> list[str]:
    """Return the words as written, so `C++`, `Node.js` and `mother-in-law` are one word each."""
    return WORD.findall(text)


def shortened(text: str, limit: int = 160) -> str:
    """Return the text on one line, cut at a word when it is longer than the limit."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    return line[:limit].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def _cleaned(text: str, *, maximum: int, field: str) -> str:
    for start, kind in FILE_STARTS.items():
        if text.lstrip("\ufeff").startswith(start):
            raise NotText(f"it looks like the inside of {kind}", field=field)
    if len(text) > maximum:
        raise TextTooLong(len(text), maximum, unit="characters", field=field)
    clean = unicodedata.normalize("NFC", text).translate(INVISIBLE)
    clean = clean.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n").replace("\u2028", "\n")
    if any(unicodedata.category(c) in {"Cc", "Cs", "Co", "Cn"} and c not in "\n\t" for c in clean):
        raise NotText("it holds characters that no text has", field=field)
    if not clean.strip():
        raise TextMissing(field=field)
    return clean


def _refuse_noise(text: str, word_count: int) -> None:
    visible = [c for c in text if not c.isspace()]
    if sum(c.isalpha() for c in visible) < 0.5 * len(visible):
        raise NotText("most of it is digits and signs, not words")
    if len(visible) > 25 * max(word_count, 1):
        raise NotText("its words are far too long to be words")


def _lines(text: str) -> Iterable[Line]:
    pending: Line | None = None
    for number, raw in enumerate(text.split("\n"), start=1):
        content = " ".join(raw.split())
        if not any(c.isalnum() for c in content):
            if pending is not None:
                yield pending
            pending = None
            continue
        is_bullet = bool(BULLET.match(raw))
        content = BULLET.sub("", content) if is_bullet else content
        if pending is not None and pending.is_bullet and not is_bullet and content[:1].islower():
            # Text copied from a PDF breaks a bullet over several lines; the rest begins in lower case.
            pending = Line(pending.number, f"{pending.text} {content}", True)
            continue
        if pending is not None:
            yield pending
        pending = Line(number, content, is_bullet)
    if pending is not None:
        yield pending
