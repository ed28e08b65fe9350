"""The reading of a text: equal for texts that say the same to whoever reads them, and for no others.

What does not matter to a reader is written in one way: Unicode's composed and full-width forms, white space, kinds of
quotes and dashes, closing marks, the case of words, contractions, numbers in words, spellings of one word. All else
stays as it was said: every sign, operator, currency, emoji and accent, the order of words, tense, a question mark.
Where a difference may mean something, the readings differ: what is stored twice can be merged, what was lost cannot.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache
from importlib.resources import files
from typing import Any

_LANGUAGE: dict[str, Any] = json.loads(files(__package__).joinpath("reading.json").read_text(encoding="utf-8"))


def _any_of(name: str) -> str:
    """A pattern for the words of one list, the longest first."""
    return "|".join(map(re.escape, sorted(_LANGUAGE[name].split(), key=len, reverse=True)))


_CAPITALS_THAT_MEAN = frozenset(_LANGUAGE["capitals_that_mean"].split())
_NAMES_IN_ANY_CASE = frozenset(_LANGUAGE["names_in_any_case"].split())
_CONTRACTIONS: dict[str, str] = _LANGUAGE["contractions"]
_IS_STAYS = tuple(word[:-1] for word in _LANGUAGE["is_stays"].split())
_SPELLINGS: dict[str, str] = _LANGUAGE["spellings"] | {
    word: word.replace("our", "or") for word in _LANGUAGE["our"].split()
}

_INVISIBLE = re.compile("[\x00\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufe0e\ufe0f\ufeff]")
_HALF_WIDTH = re.compile("[\uff61-\uffdc]+")
_FULL_WIDTH: dict[int, int | str] = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_FULL_WIDTH |= {0x3000: 0x20, 0x3002: 0x2E, 0x2026: "..."}
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»「」『』〝〞″", '"') | dict.fromkeys("‘’‚‛ʼ′´‹›", "'"))
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹣", "-"))
_LONG_DASH = re.compile(r"(?<=[^\W\d])\s*[–—―]+\s*(?=[^\W\d])")
_CODE = re.compile(r"```|\n(?: {2,}|\t)|[;{}]\s*(?:\n|$)")
_SECRET = re.compile(
    r"\b(?:password|passwort|kennwort|passphrase|contraseña|clave|token|username|login)\b|\u5bc6\u7801|\u5bc6\u78bc",
    re.IGNORECASE,
)
"""What is typed as it is: its case and marks count."""
_UNSPACED = r"[\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3040-\u30ff]"
_AROUND_UNSPACED = re.compile(rf"(?<={_UNSPACED})\s+|\s+(?={_UNSPACED})")
_BULLET = re.compile(r"^(?:[-*•·]\s+(?!\d))+")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=\S)([^*\n]{0,200}[^\s*])\1(?![\w*])")
_SPACE_BEFORE_MARK = re.compile(r"(?<=[^\W\d]) +(?=[.!?,;:](?:\s|$))")
_UNIT = re.compile(rf"(?<=\d)\s+(?=(?:{_any_of('units')})(?![\w/]))", re.IGNORECASE)
_MARKS_INSIDE = re.compile(r"(?<=[^\W\d_]{2})[.!]+(?=\s)")
_CLOSED_BY_ANY = re.compile(rf"(?:[^\W\d_]{{2}}|[\"')\]]|{_UNSPACED})$")
"""After what an exclamation mark says nothing: after one letter or a digit it may be a factorial."""
_COMMA_BEFORE_AND = re.compile(r",(?= (?:and|or|und|oder|y|o) )")
_SAID_FIRST = re.compile(rf"^((?:{_any_of('said_first')})(?: [\w'-]+){{1,3}}),(?= )", re.IGNORECASE)
_WORD = re.compile(r"'?[^\W_]+(?:'[^\W_]+)*")
_CODE_LIKE = re.compile(r"^-{1,2}[^\W\d_]|\w\(|[^\W\d_]\d|\d[^\W\d_]|[a-zß-ÿ][A-ZÀ-Þ]|\w[/\\@_=]\w|^[/\\@#]")
_SIMPLE = re.compile(r"(?:[A-Z]?[a-z]*+(?:[ ,.;:!?'\"]++|$))*+")
"""Nothing of it is like code; to see that takes less."""
_TOKEN = re.compile(r"\S+")
_IS_OR_HAS = re.compile(rf"\b({_any_of('s_is')})'s\b( (?:{_any_of('s_has')})\b)?")
_HAS_BEEN = re.compile(r"'s(?= been\b)")
_WOULD = re.compile(rf"'d(?= (?:{_any_of('d_would')})\b)")
_ENDINGS = (("n't", " not"), ("'re", " are"), ("'ve", " have"), ("'ll", " will"), ("'m", " am"))
_HUNDREDS = {"hundred": 100, "thousand": 1000}
_UNSPACED_NUMBER = re.compile(r"[零一二两三四五六七八九十][零一二两三四五六七八九十百千万]*")
_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"两": 2}
_SCALES = {"十": 10, "百": 100, "千": 1000}


_LONGEST = 2000
"""Characters of what is read with care; what is longer is read letter by letter: it is hardly said twice."""


@lru_cache(maxsize=4096)
def reading(text: str) -> str:
    """A text as it is read. Code, and what is indented, is read letter by letter."""
    plain = unicodedata.normalize("NFC", text.replace("\r\n", "\n"))
    if len(plain) > _LONGEST or _CODE.search(plain) or _SECRET.search(plain):
        return "\n".join(line.rstrip() for line in plain.strip("\n").split("\n"))
    return _cased(_signs(plain))


def _signs(text: str) -> str:
    """Spaces, marks, quotes and dashes in one way each."""
    plain = _INVISIBLE.sub("", text)
    if plain.isascii():
        plain = " ".join(plain.split())
    else:
        plain = _HALF_WIDTH.sub(lambda found: unicodedata.normalize("NFKC", found[0]), plain).translate(_FULL_WIDTH)
        plain = _LONG_DASH.sub(" - ", plain).translate(_QUOTES).translate(_DASHES)
        plain = _AROUND_UNSPACED.sub("", " ".join(plain.split()))
    plain = _EMPHASIS.sub(r"\2", _BULLET.sub("", plain)).lstrip("¡¿")
    plain = _UNIT.sub("", _SPACE_BEFORE_MARK.sub("", plain))
    plain = _COMMA_BEFORE_AND.sub("", _SAID_FIRST.sub(r"\1", plain))
    said, marks = _without_marks(plain)
    if "?" in marks:
        return f"{said}?"
    plain = said if "!" not in marks or _CLOSED_BY_ANY.search(said[-2:]) else plain
    return _MARKS_INSIDE.sub(".", plain) if "." in plain or "!" in plain else plain


def _without_marks(text: str) -> tuple[str, str]:
    """A text, and the marks that close it."""
    said = text.rstrip(".!?~\u0964\u06d4 ")
    return said, text[len(said) :]


def _cased(text: str) -> str:
    """Words in small letters, but those whose capitals mean something; contractions, numbers and spellings."""
    shouted = text.upper() == text and len(text.split()) > 1
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        word = found[0].strip(",.;:!?'\"()").lower().removesuffix("'s")
        if word in _NAMES_IN_ANY_CASE or _CODE_LIKE.search(found[0]) is None:
            return found[0]
        kept.append(found[0])
        return "\x00"

    if shouted or text.islower():
        plain = text.lower()
    else:
        plain = text if _SIMPLE.fullmatch(text) or not _CODE_LIKE.search(text) else _TOKEN.sub(keep, text)
        plain = _WORD.sub(lambda found: _word_cased(found[0], found.start()), plain)
    if "'" in plain:
        plain = _HAS_BEEN.sub(" has", _IS_OR_HAS.sub(lambda found: _is_or_has(*found.groups()), plain))
        plain = _WOULD.sub(" would", plain)
    plain = _WORD.sub(lambda found: _word(found[0]), plain)
    plain = _UNSPACED_NUMBER.sub(lambda found: _unspaced_number(found[0]), _numbers(plain))
    each = iter(kept)
    return re.sub("\x00", lambda _: next(each), plain)


def _word_cased(word: str, at: int) -> str:
    small = word.lower()
    means = small in _CAPITALS_THAT_MEAN and at > 0
    means = means or (len(word) == 1 and at > 0 and word.isupper() and word != "I")
    return word if means else small


def _is_or_has(word: str, participle: str | None) -> str:
    return f"{word} {'has' if participle else 'is'}{participle or ''}"


@lru_cache(maxsize=65_536)
def _word(word: str) -> str:
    if (whole := _CONTRACTIONS.get(word)) is not None:
        return whole
    for ending, meant in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending):
            return word.removesuffix(ending) + meant
    return _spelling(word)


def _spelling(word: str) -> str:
    """American, where English has two."""
    for plural in ("", "s"):
        if (spelling := _SPELLINGS.get(word.removesuffix(plural) if plural else word)) is not None:
            return spelling + plural
    if found := re.fullmatch(r"(\w{4,}i)s((?:e|es|ed|er|ers|ing|ation|ations))", word):
        return word if word.startswith(_IS_STAYS) else f"{found[1]}z{found[2]}"
    return word


def _numbers(text: str) -> str:
    """Numbers up to a thousand, written in words with spaces or hyphens between them, as digits."""
    if _NUMBER_WORDS.isdisjoint(_RUN.findall(text)):
        return text
    return _NUMBER.sub(lambda found: str(_value(found[0])), text)


def _value(written: str) -> int:
    total = 0
    for word in re.split(r"[\s-]+", written):
        if word in _HUNDREDS:
            total = max(1, total) * _HUNDREDS[word]
        elif word not in ("a", "and", "y"):
            total += _NUMBERS.get(word, 1)  # treinta y uno
    return total


def _unspaced_number(written: str) -> str:
    """A Chinese number up to 9999; what is none stays."""
    total, digit = 0, None
    for sign in written:
        if sign in _SCALES:
            total, digit = total + (1 if digit is None else digit) * _SCALES[sign], None
        elif sign in _DIGITS and digit is None:
            digit = _DIGITS[sign]
        else:
            return written
    if digit and len(written) > 1 and written[-2] in "百千":
        return written  # said for short: 150 or 105
    return str(total + (digit or 0))


def _number_words() -> dict[str, int]:
    found: dict[str, int] = {}
    for language in _LANGUAGE["numbers"].values():
        ones, tens = language["ones"].split(), language["tens"].split()
        found.update({word: value for value, word in enumerate(ones) if word != "-"})
        found.update({word: 10 * place for place, word in enumerate(tens, 2)})
        if joined := language.get("joined"):
            for place, ten in enumerate(tens, 2):
                for value, one in enumerate(["ein", *ones[2:10]], 1):
                    found[joined.format(one=one, ten=ten)] = 10 * place + value
    return found


_NUMBERS = _number_words()
_NUMBER_WORDS = _NUMBERS.keys() | _HUNDREDS.keys()
_RUN = re.compile(r"\w+")
_TENS = "|".join(word for word, value in _NUMBERS.items() if value in range(20, 100, 10))
_UNITS = "|".join(sorted((word for word, value in _NUMBERS.items() if 0 < value < 10), key=len, reverse=True))
_ANY = "|".join(sorted(_NUMBERS, key=len, reverse=True))
_BELOW_HUNDRED = rf"(?:(?:{_TENS})(?:[ -](?:{_UNITS})| y (?:{_UNITS}|un[oa]?))|{_ANY})"
_NUMBER = re.compile(
    rf"(?<![\w'-])(?:(?:a|{_BELOW_HUNDRED}) (?:hundred|thousand)(?: and {_BELOW_HUNDRED})?|{_BELOW_HUNDRED})(?![\w'])"
)
