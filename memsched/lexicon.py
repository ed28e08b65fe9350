"""The words of a text, and what memsched knows of English: stems, stop words, negations, numbers in words.

Other languages are cut into words, and compared by them as they are.
"""

from __future__ import annotations

import re
from functools import lru_cache

import Stemmer

MAX_WORD_CHARACTERS = 64
_ASKED_AGAIN = 500
"""Characters of a text whose words are kept for a while."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_WITHOUT_SPACES = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
_POSSESSIVE = re.compile(r"'s$")
_stemmer = Stemmer.Stemmer("english", 0)  # lru_cache below is the cache; a Stemmer's own is not thread-safe

_UP_TO_TWENTY = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty
"""
NUMBER_WORDS = {word: str(value) for value, word in enumerate(_UP_TO_TWENTY.split())} | {
    "once": "1",
    "twice": "2",
    "dozen": "12",
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
    "hundred": "100",
    "thousand": "1000",
    "million": "1000000",
}

NEGATIONS = frozenset(
    """
no not never cannot none nobody nothing nowhere neither nor without dont doesnt didnt cant couldnt wont wouldnt isnt
arent wasnt werent hasnt havent hadnt shouldnt 不 没 沒 未 非 無 无
""".split()
)
"""Beside what ends with "n't", which ``is_negation`` knows as well."""

STOP_WORDS = frozenset(
    """
a an and are as at be been but by did do does for from had has have he her hers him his how i if in into is it its me my
of on or our she so that the their them then there these they this to up was we were what when where which who why will
with would you your s t am just not
""".split()
)
"""Left out of ranking. "not" ranks nothing either; whoever compares meanings asks ``is_negation``."""

COMMON_WORDS = (
    STOP_WORDS
    | NEGATIONS
    | NUMBER_WORDS.keys()
    | frozenset(
        """
about after again all also any because before being both can could doing during each ever few further get gets got
having here herself himself itself more most much myself now off only other ours out over own per said same says
should some such than theirs themselves those through too under until upon us very whom whose yes yours yourself user
users speaker person
""".split()
    )
)
"""Say nothing that could be checked: not whether a text says more than its source."""

OPENING_VERBS = frozenset(
    """
likes loves enjoys prefers wants wishes needs plans hopes hates dislikes avoids has had is was lives lived works worked
owns uses used keeps speaks plays played studies studied went goes visited bought sold started stopped moved met got
made took gave saw eats drinks feels thinks believes knows allergic married born
""".split()
)
"""With a capital at the start of a sentence they are no names."""


def words(text: str) -> list[str]:
    """The words of a text in order, lower case. Scripts without spaces are cut into overlapping pairs of characters."""
    return list(_words_again(text) if len(text) <= _ASKED_AGAIN else _words(text))


@lru_cache(maxsize=1_024)
def _words_again(text: str) -> tuple[str, ...]:
    """Cached, because a question's words are looked at from many sides."""
    return tuple(_words(text))


def _words(text: str) -> list[str]:
    plain = text.lower().replace("\u2019", "'")
    found = _WORD.findall(plain)
    if is_without_spaces(plain):
        found = [part for word in found for part in _parts(word)]
    return [word[:MAX_WORD_CHARACTERS] for word in found]


def is_without_spaces(text: str) -> bool:
    """Whether a text is, at least in part, in a script that puts no spaces between words."""
    return not text.isascii() and _WITHOUT_SPACES.search(text) is not None


def _parts(word: str) -> list[str]:
    if _WITHOUT_SPACES.search(word) is None:
        return [word]
    return [word[at : at + 2] for at in range(max(1, len(word) - 1))]


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The stem of one lower-case word."""
    return str(_stemmer.stemWord(_POSSESSIVE.sub("", word)))


def content_words(text: str) -> list[str]:
    """The words that mean something by themselves; all words, if there are only others."""
    found = words(text)
    return [word for word in found if word not in STOP_WORDS] or found


def stems(text: str) -> list[str]:
    """The stems of the content words, in order, with repetitions."""
    return [stem(word) for word in content_words(text)]


def is_negation(word: str) -> bool:
    """Whether a lower-case word is one."""
    return word in NEGATIONS or word.endswith("n't")


def is_negated(text: str) -> bool:
    """Whether there is a negation in a text."""
    return any(map(is_negation, words(text)))


def is_question(text: str) -> bool:
    """Whether a text ends as a question does: then it states nothing."""
    return text.rstrip().endswith(("?", "\uff1f", "\u061f"))


def estimate_tokens(text: str) -> int:
    """About how many tokens a model counts in a text, where its server does not say.

    Four ASCII characters are one, which is OpenAI's rule of thumb for English; any other (Chinese, emoji) is one.
    """
    others = 0 if text.isascii() else sum(character > "\x7f" for character in text)
    return -(-(len(text) - others) // 4) + others
