"""The spelling of what is typed in haste: "im", "q", "diabtic", "laktoseintolleranz", as the words that they are.

By ``typed_words.json``. Only words that a rule looks for are led back, and only from one wrong letter, a missing accent
or a letter that is written once instead of twice: a word that is none of them stays as it is.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from typing import Any

_WORDS: dict[str, Any] = json.loads(
    files("memsched.memory.ingest").joinpath("typed_words.json").read_text(encoding="utf-8")
)
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_TWICE = re.compile(r"(.)\1+")
_LEAST = 5
"""Letters of a word that may be misspelt."""
_LEAST_FOR_A_LETTER = 7
"""Letters of one of which a letter may be wrong: of shorter ones too many others are one letter away."""


@lru_cache(maxsize=256)
def as_spelled(text: str, lang: str) -> str:
    """A text with the words that are meant."""
    return text if lang not in _WORDS["typed"] else _WORD.sub(lambda match: _meant(match[0], lang), text)


@lru_cache(maxsize=65_536)
def _meant(word: str, lang: str) -> str:
    plain = word.lower()
    if (typed := _typed(lang).get(plain)) is not None:
        return typed
    if len(plain) < _LEAST or plain in _right(lang):
        return word
    skeleton = _skeleton(plain)
    found = _by_skeleton(lang).get(skeleton)
    if found is None and len(skeleton) >= _LEAST_FOR_A_LETTER:
        found = next((each for cut in _cuts(skeleton) if (each := _by_cut(lang).get(cut))), None)
    return found or word


def _skeleton(word: str) -> str:
    """Without accents, and with no letter twice in a row."""
    plain = "".join(sign for sign in unicodedata.normalize("NFD", word) if not unicodedata.combining(sign))
    return _TWICE.sub(r"\1", plain)


def _cuts(skeleton: str) -> Iterator[str]:
    """It, and it without one of its letters: two words of which one letter differs have one of these in common."""
    yield skeleton
    for at in range(1, len(skeleton)):
        yield skeleton[:at] + skeleton[at + 1 :]


@lru_cache(maxsize=8)
def _typed(lang: str) -> dict[str, str]:
    return dict(each.split(": ") for each in _WORDS["typed"][lang].split(", "))


@lru_cache(maxsize=8)
def _right(lang: str) -> frozenset[str]:
    return frozenset(_WORDS["spelled"][lang].split()) | frozenset(_WORDS["not_misspelt"].split())


@lru_cache(maxsize=8)
def _by_skeleton(lang: str) -> dict[str, str]:
    return {_skeleton(word): word for word in _WORDS["spelled"][lang].split()}


@lru_cache(maxsize=8)
def _by_cut(lang: str) -> dict[str, str]:
    of_lang = _by_skeleton(lang)
    long = {skeleton: word for skeleton, word in of_lang.items() if len(skeleton) >= _LEAST_FOR_A_LETTER}
    return {cut: word for skeleton, word in long.items() for cut in _cuts(skeleton)}
