"""How hard a text is to read, by LIX.

LIX = words / sentences + 100 * long words / words, a long word having more than six letters. From C. H. Bjornsson,
"Lasbarhet" (1968); scale after J. Anderson, "Lix and Rix", Journal of Reading 26 (1983). It counts letters instead of
guessing syllables, so anyone can check it by hand, and names and technical terms do not upset it. A bullet is a
sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from checker.text import Line, words_of

LONG_WORD = 6
LONG_SENTENCE = 30
SCALE = ((30, "very easy"), (40, "easy"), (50, "average"), (60, "hard"))
SENTENCE_END = re.compile(r"[.!?:;](?:\s+|$)")


@dataclass(frozen=True)
class Readability:
    """The index, its name on the scale, words per sentence, and the sentences that are too long."""

    lix: int
    level: str
    words_per_sentence: float
    long_sentences: tuple[str, ...]


def measure(lines: list[Line]) -> Readability | None:
    """Return the readability of these lines, None when they hold no sentence of three words."""
    sentences = [(s, words) for line in lines for s in SENTENCE_END.split(line.text) if len(words := words_of(s)) >= 3]
    if not sentences:
        return None
    words = [word for _, in_sentence in sentences for word in in_sentence]
    long_words = sum(1 for word in words if sum(c.isalpha() for c in word) > LONG_WORD)
    per_sentence = len(words) / len(sentences)
    lix = round(per_sentence + 100 * long_words / len(words))
    return Readability(
        lix=lix,
        level=level_of(lix),
        words_per_sentence=round(per_sentence, 1),
        long_sentences=tuple(s.strip() for s, in_sentence in sentences if len(in_sentence) > LONG_SENTENCE),
    )


def level_of(lix: int) -> str:
    """Name an index on the scale."""
    return next((name for limit, name in SCALE if lix < limit), "very hard")
