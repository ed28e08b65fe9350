"""Secrets that are told in two turns: a question for one and its answer, or a sentence that the next text ends."""

from __future__ import annotations

import re

from memsched.lazy_pattern import LazyPattern
from memsched.secret_values import RULES, is_mixed, is_password, is_told
from memsched.secrets_in_text import Found, learn, mask, spoken, tells

_ASKS = [spoken(each) for each in RULES["asks"]]
_ONE_VALUE = spoken(RULES["answers"])
_NUMBER = spoken(RULES["number_in_answer"])
_CODE = LazyPattern(r"c[o\u00f3]d(?:e|igo)|combin|combo|kombin", re.IGNORECASE)
_NO_ANSWER = frozenset(RULES["no_answer"])
_NO_ASK = LazyPattern(RULES["no_ask"], re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?\u3002\uff01\uff1f\n]\s*(?=\S)")
_OPEN = LazyPattern(RULES["open"], re.IGNORECASE)
"""How a text ends that has its secret in the next one."""
_LOOKED_BACK, _LONGEST_ANSWER, _MOST_WORDS = 120, 60, 7


def mask_after(before: str, text: str, found: Found | None = None) -> str:
    """A text that goes on with another one, or answers it: "my password is", "hunter2".

    Args:
        before: what was said just before it, masked.
        text: what is said now, masked.
        found: learns the secret.
    """
    before = before[-_LOOKED_BACK:]
    if not text or not (tells(before) or _CODE.search(before)):
        return text
    if (place := _answer_in(text, before)) is not None:
        begin, end, instead = place
        if found is not None:
            learn(found, text[begin:end], instead)
        return text[:begin] + instead + text[end:]
    if not _OPEN.search(before):
        return text
    told = f"{before} {text}"
    shown = mask(told, found)
    return shown[len(before) + 1 :] if shown.startswith(f"{before} ") else text


def _answer_in(text: str, before: str) -> tuple[int, int, str] | None:
    """Where a short answer has the secret that was asked for, and what stands for it."""
    if len(text) > _LONGEST_ANSWER:
        return None
    number, password = _number_in(text), _password_in(text)
    if number is None and password is None:
        return None
    asked = next((match for each in _ASKS if (match := each.search(before))), None)
    if asked is None or _NO_ASK.search(_SENTENCE.split(asked[0])[0]):
        return None
    if asked.groupdict().get("code"):
        return None if number is None else (*number, "[code]")
    place = number or password
    return None if place is None else (*place, "[password]")


def _number_in(text: str) -> tuple[int, int] | None:
    """Where the only number of a short answer stands, if it is no year and no amount."""
    numbers = list(_NUMBER.finditer(text))
    return numbers[0].span(1) if len(numbers) == 1 else None


def _password_in(text: str) -> tuple[int, int] | None:
    """Where the password of a short answer stands: one word, or the only one with letters and digits."""
    if one := _ONE_VALUE.search(text):
        begin, value = one.start(1), one[1].rstrip(".!,")
        is_word = value.isalpha() and max(value) < "\u0300" and is_told(value) and value.lower() not in _NO_ANSWER
        return (begin, begin + len(value)) if is_password(value) or is_word else None
    words = list(re.finditer(r"[^\s\"'`,;:!?\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]{6,}", text))
    mixed = [each for each in words if is_mixed(each[0].rstrip("."))]
    if len(text.split()) > _MOST_WORDS or len(mixed) != 1:
        return None
    begin, value = mixed[0].start(), mixed[0][0].rstrip(".")
    return begin, begin + len(value)
