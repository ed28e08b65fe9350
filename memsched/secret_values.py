"""What a secret looks like: whether a value that a text names is a password or a token.

What tells it is data: ``secret_rules.json``.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

RULES: dict[str, Any] = json.loads(files(__package__).joinpath("secret_rules.json").read_text(encoding="utf-8"))
_NO_SEED = frozenset(RULES["no_seed"])
_PATH = re.compile(r"/.+|[\w.-]+(?:/[\w.-]+)+|\w+(?:-[A-Za-z]{2,}){2,}")
"""A path, or words with hyphens."""
_CODE = re.compile(
    r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+[(\[]|[a-z_]+(?:\.[a-z_]+)+$|[A-Za-z_]\w*[(\[]|(?:~|\.{1,2})?(?:/[\w.-]+)+/?$|[A-Za-z]:\\"
)
"""What a program puts there: ``os.environ[``; or a path."""
_NO_VALUE = re.compile(RULES["no_value"], re.IGNORECASE)
_NO_WORD = re.compile(RULES["no_word"], re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_NO_TOLD = re.compile(RULES["no_told"], re.IGNORECASE)
_NO_PHRASE = frozenset(RULES["no_phrase"])
_NO_REPEAT = frozenset(RULES["no_repeat"])
_VERSION = re.compile(r"[vV]?\d+(?:\.\d+){1,3}(?:-?(?:alpha|beta|rc)\.?\d*)?")
_YEAR = re.compile(r"(?:19|20)\d\d")
_LEAST_TOKEN, _LEAST_SETTING, _LEAST_REPEATED = 16, 8, 5
_RANDOM = 0.2
"""The least share of neighbours of other kinds (aB, a1) in a random text; between words there are few of them."""
_TURNS = re.compile(r"(?<=[a-z])[A-Z\d]|(?<=[A-Z])\d|(?<=\d)[A-Za-z]")


def is_given(value: str) -> bool:
    """Whether it is a value, and not what stands for one."""
    return _NO_VALUE.fullmatch(value) is None


def is_mixed(value: str) -> bool:
    return is_given(value) and any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def is_setting(value: str) -> bool:
    """Whether a file of settings, or a line that has nothing else, tells a password: any word may be one."""
    if not is_given(value) or "://" in value or _CODE.match(value) or _NO_WORD.fullmatch(value):
        return False
    return value.isdigit() or any(map(str.isalpha, value))


def is_token_setting(value: str) -> bool:
    if len(value) < _LEAST_SETTING or not is_mixed(value) or "://" in value or _CODE.match(value):
        return False
    return not _is_path(value) and re.fullmatch(r"\d+[A-Za-z]{1,7}|v?\d+(?:\.\d+)+\S*", value) is None


def is_password(value: str) -> bool:
    """Whether nobody would write this word but as a password: with digits or marks in it."""
    if not is_given(value) or "://" in value or _CODE.match(value) or _VERSION.fullmatch(value):
        return False
    digits, letters = any(map(str.isdigit, value)), any(map(str.isalpha, value))
    marks = any(not each.isalnum() and each not in "-'/.\u2019" for each in value)
    inner_capital = re.search(r"[a-z][A-Z]", value) is not None
    return (digits and letters) or (marks and letters) or (digits and value.isdigit()) or inner_capital


def is_token(value: str) -> bool:
    if len(value) < _LEAST_TOKEN or not is_mixed(value) or "://" in value or "[" in value or _CODE.match(value):
        return False
    return not _is_path(value) and _UUID.fullmatch(value) is None


def is_random(value: str) -> bool:
    """Whether capitals, small letters and digits change in it as in no word and in no path."""
    return len(_TURNS.findall(value)) >= _RANDOM * len(value)


def _is_path(value: str) -> bool:
    return _PATH.fullmatch(value) is not None and not is_random(value)


def is_seed(words: str) -> bool:
    return not _NO_SEED.intersection(re.findall("[a-z]+", words.lower()))


def is_told(value: str) -> bool:
    """Whether one word, or a phrase, that a sentence gives as a password is one, and does not say how it is."""
    words = re.findall(r"[^\W\d_]+", value.lower())
    if not is_given(value) or not words or not _NO_PHRASE.isdisjoint(words):
        return False
    if len(words) == 1 and _NO_TOLD.fullmatch(words[0]):
        return False
    return not any(map(_NO_WORD.fullmatch, words))


def is_repeated(value: str) -> bool:
    """Whether a secret is known again where nothing says that it is one: no year, and no word of every day."""
    if value.isdigit():
        return len(value) >= 4 and _YEAR.fullmatch(value) is None
    return len(value) >= _LEAST_REPEATED and value.lower() not in _NO_REPEAT
