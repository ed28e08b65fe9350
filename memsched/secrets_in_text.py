"""Secrets in a text: where keys, tokens, passwords, codes and card numbers stand in it, and a text without them.

No scanner's library is used: detect-secrets, the best kept, tells whether a line of code holds a secret and not where
it ends, knows of a private key its first line, takes no card numbers, and needs an HTTP client to verify what it finds.
Its shapes of tokens are in ``secret_rules.json``, with what talk needs: passwords that are named, in talk, in files of
settings and in commands; addresses with a password; cookies and headers; whole key blocks; the words of a wallet; and
card numbers by their issuer and check digit (ISO/IEC 7812).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Any
from urllib.parse import quote, unquote

_RULES: dict[str, Any] = json.loads(files(__package__).joinpath("secret_rules.json").read_text(encoding="utf-8"))
_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:[\s\S]*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r"|(?:\s|\\[nr])*(?:[A-Za-z0-9+/=:,-]|\\[nr]|\s(?!\s)){30,})"
)
_PUTTY_KEY = re.compile(r"(?<=Private-Lines: )\d+(?:\s+[A-Za-z0-9+/=]{20,})+(?:\s+[A-Za-z0-9+/=]{4,}(?=\s))?")
_URL = re.compile(
    r"(?<=://)(?!(?:localhost|\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}@)([^\s/:@\"'<>]{0,300}):((?!\d{1,5}(?:[/?#]|$))[^\s\"'<>]{1,300}|[^\s/\"'<>]{1,300})@(?=[\w.\[-])"
)
_TOKEN = re.compile(
    r"(?:(?<![A-Za-z0-9_-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt])|(?<=\\u00[0-9a-f]{2}))(?:"
    + "|".join(_RULES["tokens"])
    + r")(?![A-Za-z0-9])"
)
_GLUED = re.compile(f"(?:{'|'.join(_RULES['glued'])})(?![A-Za-z0-9])")
_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9/+=])(?=\S*[A-Z])(?=\S*[g-z])(?=\S*\d)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
"""Only beside the id of an access key."""
_BEFORE, _AFTER, _JOINS = _RULES["before"], _RULES["after"], _RULES["joins"]
_VALUE = r"[\"'`\u201c\u201e\u300c]?([^\s\"'`\u201c\u201d\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]{4,}+)(?!'\w)"
_NAMED = {
    kind: re.compile(rf"{_BEFORE[kind]}{words}{_AFTER}{_JOINS}{_VALUE}", re.IGNORECASE)
    for kind, words in _RULES["named"].items()
}
_PLAIN = r"[^\s\"'`,;&<>()|\\\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"
_SETTINGS: dict[str, tuple[re.Pattern[str], ...]] = {
    kind: (
        # in quotes
        re.compile(
            rf"{_BEFORE[kind]}{words}{_AFTER}\\?[\"'`]?\]?\s*(?:=>|:=|[:=])\s*\\?[\"']([^\"'\s\\]{{3,}})\\?[\"']", re.I
        ),
        # without blanks: of an environment, of a connection, of a query
        re.compile(rf"{_BEFORE[kind]}{words}{_AFTER}=({_PLAIN}{{3,}})(?=[\s;&\"'`\\|]|$)", re.I),
        # alone in its line
        re.compile(
            rf"^[ \t>*#-]{{0,40}}(?:[^\W_]{{1,30}}[ _.-]){{0,3}}(?:[^\W_]{{1,30}})?{words}{_AFTER}"
            r"[*`]{0,3}[ \t]*[:=\uff1a][ \t]*[*]{0,2}"
            rf"({_PLAIN}{{4,}})[ \t]*(?:#[^\n]*)?$",
            re.I | re.M,
        ),
        # a name and a value
        re.compile(rf"{_RULES['pairs']}{words}{_AFTER}{_RULES['values']}", re.I),
    )
    for kind, words in _RULES["keys"].items()
}
_SETTINGS["token"] = (*_SETTINGS["token"][:2], _SETTINGS["token"][3])
_TOLD = re.compile(rf"(?<![A-Za-z]){_RULES['told']}", re.IGNORECASE)
_IS_COMMAND = re.compile(
    r"(?<!\S)-|requirepass|login |identified by|with (?:encrypted )?password|sqlplus|echo ", re.IGNORECASE
)
_IS_ASSIGNED = re.compile("[=:\uff1a]|Basic ")
_NUMBER = re.compile(r"\d\d")
_COMMANDS = [re.compile(each, re.MULTILINE) for each in _RULES["commands"]]
_HEADERS = [re.compile(each) for each in _RULES["headers"]]
_COOKIES = re.compile(_RULES["cookies"]["lines"])
_COOKIE = re.compile(_RULES["cookies"]["pair"])
_SESSION = re.compile(_RULES["cookies"]["named"])
_CODE_NAMED = re.compile(rf"(?<![A-Za-z]){_RULES['codes']}{_RULES['code_joins']}", re.IGNORECASE)
_CARD_CODE = re.compile(_RULES["card_code"], re.IGNORECASE)
_BESIDE_CARD = [re.compile(_RULES[each], re.IGNORECASE) for each in ("after_card", "near_card")]
_WORDS = re.compile(_RULES["words"], re.IGNORECASE)
_NO_SEED = frozenset(_RULES["no_seed"])
_PATH = re.compile(r"/.+|[\w.-]+(?:/[\w.-]+)+|\w+(?:-[A-Za-z]{2,}){2,}")
"""A path, or words with hyphens."""
_CODE = re.compile(
    r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+[(\[]|[a-z_]+(?:\.[a-z_]+)+$|[A-Za-z_]\w*[(\[]|(?:~|\.{1,2})?(?:/[\w.-]+)+/?$|[A-Za-z]:\\"
)
"""What a program puts there: ``os.environ[``; or a path."""
_NO_VALUE = re.compile(_RULES["no_value"], re.IGNORECASE)
_NO_WORD = re.compile(_RULES["no_word"], re.IGNORECASE)
_PUBLIC = re.compile(rf"(?<![A-Za-z]){_RULES['public']}", re.IGNORECASE)
_ORDER = re.compile(rf"(?<![A-Za-z]){_RULES['orders']}", re.IGNORECASE)
_CARD = re.compile(
    r"(?<![A-Za-z0-9_./+-])"
    r"(?:\d{4}([ \u00a0\u2009\u202f\u3000-]{1,2}|[._/])\d{4}\1\d{4}\1(?:\d{4}(?:\1\d{3})?|\d{1,2})"
    r"|\d{4}([ \u00a0-])\d{6}\2\d{4,5}|\d{13,19})"
    r"(?![A-Za-z0-9_]|[.-]\d| \d(?!\d?\s*[/ -]\s*\d\d))"  # but for its expiry: 12/27
)
_ISSUERS = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|2[2-7]"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"30[0-5]|36|38|39"), (14,)),
    (re.compile(r"6011|64|65|62|50|5[6-8]|6[0137]"), (16, 17, 18, 19)),
    (re.compile(r"35"), (16,)),
)
_IBAN_BEFORE = re.compile(r"[A-Z]{2}\d{2} (?:[A-Z0-9]{4} )*$")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_NEXT_FIELD = re.compile(r"[;&][\w .-]+=")
_MAY_BE = re.compile(_RULES["may_be"])
"""Without any of these there is none: most texts are not looked at closer."""
_TELLS = re.compile(
    "|".join([*_RULES["named"].values(), *_RULES["keys"].values(), _RULES["codes"], "pin|cvv|cvc|csc"]), re.IGNORECASE
)
_STANDS_FOR = {
    "<password>": f"(?:{_RULES['named']['password']}|{_RULES['keys']['password']})",
    "<codes>": _RULES["codes"],
    "<second>": _RULES["second"],
}


def _spoken(pattern: str) -> re.Pattern[str]:
    """A pattern of the rules, with the words that its names stand for."""
    for name, words in _STANDS_FOR.items():
        pattern = pattern.replace(name, words)
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)


_SAID = {kind: [_spoken(each) for each in patterns] for kind, patterns in _RULES["said"].items()}
_ASKS, _ANSWER = _spoken(_RULES["asks"]), _spoken(_RULES["answers"])
_NO_TOLD = re.compile(_RULES["no_told"], re.IGNORECASE)
_NO_PHRASE = frozenset(_RULES["no_phrase"])
_LOOSE_CARD = re.compile(r"(?<!\d)(?<![A-Z]{2})\d(?:[ .\-/_\u00a0\u2009\u202f\u3000]{0,2}\d){12,18}(?!\d)")
_CARD_WORD = re.compile(rf"(?<![A-Za-z]){_RULES['card_words']}(?![a-z])", re.IGNORECASE)
_TABLE = re.compile(
    r"^[^|\n]{0,200}\|([^\n]+)\|[ \t]*\n[ \t]*\|[ :|-]{3,200}\|[ \t]*\n"
    r"((?:[ \t]*\|[^\n]+\|[ \t]*(?:\n|$))+)",
    re.MULTILINE,
)
_ENCODED = re.compile(r"[^\s%]{0,300}+(?:%[0-9A-Fa-f]{2}[^\s%]{0,300}+){1,200}+")
_TELLS_PASSWORD = re.compile(_STANDS_FOR["<password>"], re.IGNORECASE)
_OPEN = re.compile(_RULES["open"], re.IGNORECASE)
"""How a text ends that has its secret in the next one."""
_LEAST_TOKEN, _LEAST_SETTING, _LEAST_TOLD, _MOST_TOLD, _LOOKED_BACK = 16, 8, 6, 100, 120


def mask(text: str) -> str:
    """A text with what stands for a secret in the place of each; the same text if there is none."""
    if not text or _MAY_BE.search(text.lower()) is None:
        return text
    text = _without_secrets(text)
    if "%" not in text:
        return text
    return _ENCODED.sub(_without_encoded, text)


def mask_after(before: str, text: str) -> str:
    """A text that goes on with another one, or answers it: "my password is", "hunter2".

    Args:
        before: what was said just before it, masked.
        text: what is said now, masked.
    """
    before = before[-_LOOKED_BACK:]
    if not text or not _TELLS.search(before):
        return text
    if (asked := _ASKS.search(before)) and (answer := _ANSWER.search(text)):
        value = answer[1].rstrip(".!,")
        is_code, instead = bool(asked["number"]), "[code]" if asked["number"] else "[password]"
        if value.isdigit() and len(value) >= 4 if is_code else not value.isdigit() and _is_password(value):
            return text[: answer.start(1)] + instead + text[answer.start(1) + len(value) :]
    if not _OPEN.search(before):
        return text
    told = f"{before} {text}"
    shown = mask(told)
    return shown[len(before) + 1 :] if shown.startswith(f"{before} ") else text


def _without_secrets(text: str) -> str:
    text, found = _without_shapes(text), dict[str, str]()
    if _IS_COMMAND.search(text):
        text = _each(_COMMANDS, "[password]", _is_given, text, found)
    if _IS_ASSIGNED.search(text):
        text = _each(_HEADERS, "[token]", _is_given, text, found)
        text = _COOKIES.sub(lambda line: _each([_COOKIE], "[token]", _is_mixed, line[0], found), text)
        text = _each([_SESSION], "[token]", _is_mixed, text, found)
        text = _each(_SETTINGS["password"], "[password]", _is_setting, text, found)
        text = _each(_SETTINGS["token"], "[token]", _is_token_setting, text, found)
    if "|" in text:
        text = _TABLE.sub(_without_cells, text)
    if _TELLS_PASSWORD.search(text):
        text = _each(_SAID["call"], "[password]", _is_given, text, found)
        text = _each([_NAMED["password"], *_SAID["password"]], "[password]", _is_password, text, found)
        text = _each(_SAID["word"], "[password]", _is_told, text, found)
    text = _each(_SAID["beside"], "[password]", _is_mixed, text, found)
    text = _each([_NAMED["token"], _TOLD], "[token]", _is_token, text, found)
    if _CARD_WORD.search(text):
        text = _LOOSE_CARD.sub(_without_loose_card, text)
    if _NUMBER.search(text):
        text = _CARD.sub(_without_card, text)
        for pattern in _BESIDE_CARD:
            text = pattern.sub(r"\1[code]", text)
        text = _each([_CARD_CODE, _CODE_NAMED, *_SAID["code"]], "[code]", _is_given, text, found)
    text = _each(_SAID["recovery"], "[code]", _is_given, text, found)
    text = _each([_WORDS], "[words of a wallet]", _is_seed, text, found)
    if found:  # said once more, without its name
        again = "|".join(map(re.escape, sorted(found, key=len, reverse=True)))
        text = re.sub(rf"(?<!\w)(?:{again})(?!\w)", lambda match: found[match[0]], text)
    return text


def mask_value(name: str, value: str) -> str:
    """The value of a field, masked by itself or by what its name says: ``{"password": "swordfish"}``."""
    plain = mask(value)
    if plain != value or not _TELLS.search(name):
        return plain
    for told, begin, end in (f'{name}="{value}"', f'{name}="', '"'), (f"{name}: {value}", f"{name}: ", ""):
        shown = mask(told)
        if shown != told and shown.startswith(begin) and value not in shown:
            return shown[len(begin) : len(shown) - len(end)]
    return value


def _without_shapes(text: str) -> str:
    """Without what is a secret by its shape, whatever stands around it."""
    has_key_id = "AKIA" in text or "ASIA" in text
    text = _KEY_BLOCK.sub("[private key]", text)
    text = _PUTTY_KEY.sub("[private key]", text)
    text = _URL.sub(_without_password, text)
    text = _GLUED.sub("[token]", _TOKEN.sub("[token]", text))
    return _AWS_SECRET.sub("[token]", text) if has_key_id else text


def _each(
    patterns: Iterable[re.Pattern[str]], instead: str, is_one: Callable[[str], bool], text: str, found: dict[str, str]
) -> str:
    """With ``instead`` in the place of each value that a pattern names; ``found`` learns those that nothing else is."""

    def put(match: re.Match[str]) -> str:
        place = match.lastindex or 1
        value = match[place].rstrip(".,;:!?)\\")
        if further := _NEXT_FIELD.search(value):
            value = value[: further.start()]
        begin = match.start(place) - match.start()
        before = match.string[max(0, match.start() - 20) : match.start()]
        if not is_one(value) or _PUBLIC.search(before):
            return match[0]
        if len(value) >= _LEAST_TOLD and len(found) < _MOST_TOLD and _is_mixed(value):
            found[value] = instead
        return match[0][:begin] + instead + match[0][begin + len(value) :]

    for pattern in patterns:
        text = pattern.sub(put, text)
    return text


def _without_password(match: re.Match[str]) -> str:
    return match[0] if _NO_VALUE.fullmatch(match[2]) else f"{match[1]}:[password]@"


def _is_given(value: str) -> bool:
    """Whether it is a value, and not what stands for one."""
    return _NO_VALUE.fullmatch(value) is None


def _is_mixed(value: str) -> bool:
    return _is_given(value) and any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def _is_setting(value: str) -> bool:
    """Whether a file of settings, or a line that has nothing else, tells a password: any word may be one."""
    if not _is_given(value) or "://" in value or _CODE.match(value) or _NO_WORD.fullmatch(value):
        return False
    return value.isdigit() or any(map(str.isalpha, value))


def _is_token_setting(value: str) -> bool:
    if len(value) < _LEAST_SETTING or not _is_mixed(value) or "://" in value or _CODE.match(value):
        return False
    return _PATH.fullmatch(value) is None and re.fullmatch(r"\d+[A-Za-z]{1,7}|v?\d+(?:\.\d+)+\S*", value) is None


def _is_password(value: str) -> bool:
    """Whether nobody would write this word but as a password: with digits or marks in it."""
    if not _is_given(value) or "://" in value or _CODE.match(value):
        return False
    digits, letters = any(map(str.isdigit, value)), any(map(str.isalpha, value))
    marks = any(not each.isalnum() and each not in "-'/.\u2019" for each in value)
    inner_capital = re.search(r"[a-z][A-Z]", value) is not None
    return (digits and letters) or (marks and letters) or (digits and value.isdigit()) or inner_capital


def _is_token(value: str) -> bool:
    if len(value) < _LEAST_TOKEN or not _is_mixed(value) or "://" in value or "[" in value or _CODE.match(value):
        return False
    return _PATH.fullmatch(value) is None and _UUID.fullmatch(value) is None


def _is_seed(words: str) -> bool:
    return not _NO_SEED.intersection(re.findall("[a-z]+", words.lower()))


def _is_told(value: str) -> bool:
    """Whether one word, or a phrase, that a sentence gives as a password is one, and does not say how it is."""
    words = re.findall(r"[^\W\d_]+", value.lower())
    if not _is_given(value) or not words or not _NO_PHRASE.isdisjoint(words):
        return False
    if len(words) == 1 and _NO_TOLD.fullmatch(words[0]):
        return False
    return not any(map(_NO_WORD.fullmatch, words))


def _without_cells(match: re.Match[str]) -> str:
    """A table of Markdown without what stands under "password"."""
    names = [each.strip(" \t*`") for each in match[1].split("|")]
    if not any(map(_TELLS.search, names)):
        return match[0]

    def row(cells: re.Match[str]) -> str:
        values = cells[0].split("|")
        if len(values) != len(names) + 2:
            return cells[0]
        for place, name in enumerate(names, start=1):
            value = values[place].strip(" \t*`")
            values[place] = values[place].replace(value, mask_value(name, value)) if value else values[place]
        return "|".join(values)

    begin = match.start(2) - match.start()
    return match[0][:begin] + re.sub(r"[^\n]+", row, match[2])


def _without_encoded(match: re.Match[str]) -> str:
    """A run of characters that may be percent-encoded, without the secrets that show when it is decoded."""
    plain = unquote(match[0])
    masked = _without_secrets(plain)
    return match[0] if masked == plain else quote(masked, safe=":/?#[]@!$&()*+,;=~<>")


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
