"""Card numbers in a text, by their issuer and check digit (ISO/IEC 7812)."""

from __future__ import annotations

import re

from memsched.secret_values import RULES

_ORDER = re.compile(rf"(?<![A-Za-z]){RULES['orders']}", re.IGNORECASE)
_CARD = re.compile(
    r"(?<![A-Za-z0-9_./+-])"
    r"(?:\d{4}([ \u00a0\u2009\u202f\u3000-]{1,2}|[._/])\d{4}\1\d{4}\1(?:\d{4}(?:\1\d{3})?|\d{1,2})"
    r"|\d{4}([ \u00a0-])\d{6}\2\d{4,5}|\d{13,19})"
    r"(?![A-Za-z0-9_]|[.-]\d| \d(?!\d?\s*[/ -]\s*\d\d))"  # but for its expiry: 12/27
)
_IBAN_BEFORE = re.compile(r"[A-Z]{2}\d{2} (?:[A-Z0-9]{4} )*$")
_LOOSE_CARD = re.compile(r"(?<!\d)(?<![A-Z]{2})\d(?:[ .\-/_\u00a0\u2009\u202f\u3000]{0,2}\d){12,18}(?!\d)")
_CARD_WORD = re.compile(rf"(?<![A-Za-z]){RULES['card_words']}(?![a-z])", re.IGNORECASE)
_ISSUERS = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|2[2-7]"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"30[0-5]|36|38|39"), (14,)),
    (re.compile(r"6011|64|65|62|50|5[6-8]|6[0137]"), (16, 17, 18, 19)),
    (re.compile(r"35"), (16,)),
)


def without_cards(text: str) -> str:
    """A text without the card numbers that are written as on a card, or without blanks."""
    return _CARD.sub(_without_card, text)


def without_loose_cards(text: str) -> str:
    """A text without the card numbers beside a word that says so, in whatever groups."""
    return _LOOSE_CARD.sub(_without_loose_card, text) if _CARD_WORD.search(text) else text


def _without_card(match: re.Match[str]) -> str:
    text, at = match.string, match.start()
    if not _is_card(_digits(match[0])):
        return match[0]
    return match[0] if _is_other_number(text, at) else "[card number]"


def _without_loose_card(match: re.Match[str]) -> str:
    """In any groups, beside a word that says that it is a card."""
    text, at, end = match.string, match.start(), match.end()
    if not _CARD_WORD.search(text[max(0, at - 30) : end + 30]) or _is_other_number(text, at):
        return match[0]
    ends = [place for place, each in enumerate(match[0], start=1) if each.isdigit()]
    for length in (16, 15, 14, 13, 19, 18, 17):
        if length <= len(ends) and _is_card(_digits(match[0][: ends[length - 1]])):
            return "[card number]" + match[0][ends[length - 1] :]
    return match[0]


def _is_other_number(text: str, at: int) -> bool:
    """Whether what stands before a number says that it is another one than a card's."""
    before = text[max(0, at - 40) : at]
    return bool(_ORDER.search(before) or _IBAN_BEFORE.search(before))


def _digits(number: str) -> str:
    """The digits of a number, full-width ones too, as ASCII."""
    return "".join(str(int(each)) for each in number if each.isdecimal())


def _is_card(digits: str) -> bool:
    is_issued = any(issuer.match(digits) and len(digits) in lengths for issuer, lengths in _ISSUERS)
    return is_issued and _passes_luhn(digits) and len(set(digits)) > 1


def _passes_luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    values = [int(each) for each in reversed(digits)]
    return sum(value if place % 2 == 0 else sum(divmod(2 * value, 10)) for place, value in enumerate(values)) % 10 == 0
