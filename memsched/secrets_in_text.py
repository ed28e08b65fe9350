"""Secrets in a text: where keys, tokens, passwords, codes and card numbers stand in it, and a text without them.

No scanner's library is used: detect-secrets, the best kept, tells whether a line of code holds a secret and not where
it ends, knows of a private key its first line, takes no card numbers, and needs an HTTP client to verify what it finds.
Its shapes of tokens are in ``secret_rules.json``, with what talk needs: passwords that are named, in talk, in files of
settings and in commands; addresses with a password; cookies and headers; whole key blocks; the words of a wallet; and
card numbers by their issuer and check digit (ISO/IEC 7812).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import quote, unquote

from memsched.lazy_pattern import LazyPattern
from memsched.secret_cards import without_cards, without_loose_cards
from memsched.secret_values import (
    RULES,
    is_given,
    is_mixed,
    is_password,
    is_random,
    is_repeated,
    is_seed,
    is_setting,
    is_token,
    is_token_setting,
    is_told,
)
from memsched.secrets_in_tables import without_cells

SHORTEST_TOKEN = 15
"""Characters without a blank, of those that are known by their shape."""
_KEY_BLOCK = LazyPattern(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:[\s\S]*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r"|(?:\s|\\[nr])*(?:[A-Za-z0-9+/=:,-]|\\[nr]|\s(?!\s)){30,})"
)
_PUTTY_KEY = LazyPattern(r"(?<=Private-Lines: )\d+(?:\s+[A-Za-z0-9+/=]{20,})+(?:\s+[A-Za-z0-9+/=]{4,}(?=\s))?")
_URL = LazyPattern(
    r"(?<=://)(?!(?:localhost|\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}@)([^\s/:@\"'<>]{0,300}):((?!\d{1,5}(?:[/?#]|$))[^\s\"'<>]{1,300}|[^\s/\"'<>]{1,300})@(?=[\w.\[-])"
)
_TOKEN = LazyPattern(
    r"(?:(?<![A-Za-z0-9_-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt])|(?<=\\u00[0-9a-f]{2}))(?:"
    + "|".join(RULES["tokens"])
    + r")(?![A-Za-z0-9])"
)
_GLUED = LazyPattern(f"(?:{'|'.join(RULES['glued'])})(?![A-Za-z0-9])")
_LONG_RUN = LazyPattern(f"[!-~]{{{SHORTEST_TOKEN}}}")
_TOKEN_IN_URL = LazyPattern(r"(?<=//)([\w.~-]{20,300})(?=(?::[^\s@/\"'<>]{0,300})?@[\w\[])")
_AWS_SECRET = LazyPattern(
    r"(?<![A-Za-z0-9/+=])(?=[A-Za-z0-9/+]{0,39}[A-Z])(?=[A-Za-z0-9/+]{0,39}[g-z])(?=[A-Za-z0-9/+]{0,39}\d)"
    r"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])"
)
_BESIDE_AWS_SECRET = LazyPattern(RULES["beside_aws_secret"], re.IGNORECASE)
_BEFORE, _AFTER, _JOINS = RULES["before"], RULES["after"], RULES["joins"]
_VALUE = r"[\"'`\u201c\u201e\u300c]?([^\s\"'`\u201c\u201d\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]{4,}+)(?!'\w)"
_NAMED = {
    kind: LazyPattern(rf"{_BEFORE[kind]}{words}{_AFTER}{_JOINS}{_VALUE}", re.IGNORECASE)
    for kind, words in RULES["named"].items()
}
_PLAIN = r"[^\s\"'`,;&<>()|\\\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"
_KEYS = {kind: f"{_BEFORE[kind]}{words}{_AFTER}" for kind, words in RULES["keys"].items()}
_SETTINGS: dict[str, list[LazyPattern]] = {
    kind: [
        # in quotes
        LazyPattern(rf"{key}\\?[\"'`]?\]?\s*(?:=>|:=|[:=])\s*\\?[\"']{{1,3}}([^\"'\s\\]{{3,}})\\?[\"']", re.I),
        # without blanks: of an environment, of a connection, of a query
        LazyPattern(rf"{key}=({_PLAIN}{{3,}})(?=[\s;&\"'`\\|]|$)", re.I),
        # in code and in XML
        *(LazyPattern(each.replace("<key>", key), re.I | re.M) for each in RULES["assigned"]),
    ]
    for kind, key in _KEYS.items()
}
"""What begins with the name."""
_PAIRS = {
    kind: LazyPattern(rf"{RULES['pairs']}{words}{_AFTER}{RULES['values']}", re.I)
    for kind, words in RULES["keys"].items()
}
"""A name and a value."""
_ALONE = LazyPattern(
    r"^[ \t>*#-]{0,40}(?:[^\W_]{1,30}[ _.-]){0,3}(?:[^\W_]{1,30})?"
    rf"{RULES['keys']['password']}{_AFTER}[*`]{{0,3}}[ \t]*[:=\uff1a][ \t]*[*]{{0,2}}"
    rf"({_PLAIN}{{4,}})[ \t]*(?:#[^\n]*)?$",
    re.I | re.M,
)
"""Alone in its line."""
_CALLED = {
    kind: [LazyPattern(each.replace("<key>", key), re.I | re.M) for each in RULES["called"]]
    for kind, key in _KEYS.items()
}
_IS_CALL = LazyPattern(r"[({]\s*[\"']|value\s*=")
_WIFI = LazyPattern(RULES["wifi"], re.IGNORECASE)
_WORDS_OF = {kind: LazyPattern(f"(?={RULES['named'][kind]}|{words})") for kind, words in RULES["keys"].items()}
"""In small letters: a branch of literals is quick where case counts."""
_TOLD = LazyPattern(rf"(?<![A-Za-z]){RULES['told']}", re.IGNORECASE)
_IS_COMMAND = LazyPattern(
    r"(?<!\S)-|requirepass|login |identified by|with (?:encrypted )?password|sqlplus|echo ", re.IGNORECASE
)
_IS_ASSIGNED = LazyPattern("[=:\uff1a]|Basic |#define|</|\\|\\||[\"'], ?@?[\"']")
_NUMBER = LazyPattern(r"\d\d")
_COMMANDS = [LazyPattern(each, re.MULTILINE) for each in RULES["commands"]]
_HEADERS = [LazyPattern(each) for each in RULES["headers"]]
_COOKIES = LazyPattern(RULES["cookies"]["lines"])
_COOKIE = LazyPattern(RULES["cookies"]["pair"])
_SESSION = LazyPattern(RULES["cookies"]["named"])
_CODE_NAMED = LazyPattern(rf"(?<![A-Za-z]){RULES['codes']}{RULES['code_joins']}", re.IGNORECASE)
_CARD_CODE = LazyPattern(RULES["card_code"], re.IGNORECASE)
_BESIDE_CARD = [LazyPattern(RULES[each], re.IGNORECASE) for each in ("after_card", "near_card")]
_WORDS = LazyPattern(RULES["words"], re.IGNORECASE)
_PUBLIC = LazyPattern(rf"(?<![A-Za-z]){RULES['public']}", re.IGNORECASE)
_NEXT_FIELD = LazyPattern(r"[;&][\w .-]+=|</\w[\w:.-]*>")
_MAY_BE_WORDS: list[str] = RULES["may_be_words"]
_MAY_BE_SHAPES = re.compile(RULES["may_be_shapes"])
"""Without any of these there is none: most texts are not looked at closer."""
_NEEDS: dict[str, list[str]] = RULES["needs"]
"""Of some kinds, what stands in each text that has one, in small letters: to look for it is quicker by far."""
_TELLS = LazyPattern("|".join([*RULES["named"].values(), *RULES["keys"].values(), RULES["codes"], "pin|cvv|cvc|csc"]))
_STANDS_FOR: dict[str, str] = {
    **RULES["stands_for"],
    "<password>": f"(?:{RULES['named']['password']}|{RULES['keys']['password']})",
    "<codes>": RULES["codes"],
    "<second>": RULES["second"],
}


def spelt(pattern: str) -> str:
    """A pattern of the rules, with the words that its names stand for."""
    while any(name in pattern for name in _STANDS_FOR):
        for name, words in _STANDS_FOR.items():
            pattern = pattern.replace(name, words)
    return pattern


def spoken(pattern: str) -> LazyPattern:
    """The same, in whatever case it is said."""
    return LazyPattern(spelt(pattern), re.IGNORECASE | re.MULTILINE)


_WORDS_OF["code"] = LazyPattern(f"(?={spelt(RULES['code_words'])})")
_LISTS = {kind: [spoken(each) for each in patterns] for kind, patterns in RULES["lists"].items()}
_ONE_OF = LazyPattern(RULES["one_of"], re.IGNORECASE)
_SAID = {kind: [spoken(each) for each in patterns] for kind, patterns in RULES["said"].items()}
_ENCODED = LazyPattern(r"[^\s%]{0,300}+(?:%[0-9A-Fa-f]{2}[^\s%]{0,300}+){1,200}+")
_TELLS_PASSWORD = LazyPattern(_STANDS_FOR["<password>"])
_PLURALS = [(LazyPattern(many, re.IGNORECASE), one) for many, one in RULES["plurals"].items()]
_WIDE = LazyPattern("[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]")
_NARROW = str.maketrans({0xFEE0 + ord(each): each for each in RULES["narrow"]} | {"\u3000": " "})
_INSTEAD = re.compile(r"\[(?:token|password|private key|code|words of a wallet|card number)\]")
_LETTER = r"[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
"""Of a language that parts its words."""
_GOES_ON, _GOES_ON_BEFORE = LazyPattern(rf"{_LETTER}|[.,:]\d"), LazyPattern(rf"(?:{_LETTER}|\d[.,:])$")
_MOST_FOUND = 100

Found = dict[str, str]
"""The secrets that were found in the texts of one call, with what stands for each."""


def mask(text: str, found: Found | None = None) -> str:
    """A text with what stands for a secret in the place of each; the same text if there is none.

    Args:
        found: learns the secrets of this text, for ``mask_again`` of the others.
    """
    own: Found = {}
    plain = _in_narrow_letters(_masked, text, own)
    if found is not None:
        for value, instead in own.items():
            learn(found, value, instead)
    return plain


def mask_again(text: str, found: Found) -> str:
    """A text without the secrets that were found elsewhere: what nothing in it says of them."""
    return _in_narrow_letters(_without_found, text, found) if text and found else text


def mask_value(name: str, value: str, found: Found | None = None) -> str:
    """The value of a field, masked by itself or by what its name says: ``{"password": "swordfish"}``."""
    plain = mask(value, found)
    words = _words_of(name)
    if plain != value or not tells(words):
        return plain
    for called in dict.fromkeys((name, singular(words))):
        for told, begin, end in (f'{called}="{value}"', f'{called}="', '"'), (f"{called}: {value}", f"{called}: ", ""):
            shown = mask(told, found)
            if shown != told and shown.startswith(begin) and value not in shown:
                return shown[len(begin) : len(shown) - len(end)]
    return value


def tells(name: str) -> bool:
    """Whether there is a word in it by which secrets are called."""
    return _TELLS.search(name.lower()) is not None


def singular(name: str) -> str:
    """A name of many as that of one: ``passwords``; any other as it is."""
    for many, one in _PLURALS:
        name = many.sub(one, name)
    return name


def _words_of(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name)


def learn(found: Found, value: str, instead: str) -> None:
    """Know a secret again, where it is said without its name."""
    if len(found) < _MOST_FOUND and is_repeated(value):
        found[value] = instead


def _in_narrow_letters(masked: Callable[[str, Found], str], text: str, found: Found) -> str:
    """Masked as if full-width letters were ASCII; what stays is as it was."""
    if text.isascii() or _WIDE.search(text) is None:
        return masked(text, found)
    narrow = text.translate(_NARROW)
    shown = masked(narrow, found)
    if shown == narrow:
        return text
    parts, at = [], 0
    marks = [*_INSTEAD.findall(shown), ""]
    kept = _INSTEAD.split(shown)
    for number, (piece, mark) in enumerate(zip(kept, marks, strict=True)):
        begin = narrow.find(piece, at) if number < len(kept) - 1 else len(narrow) - len(piece)
        parts += [text[begin : begin + len(piece)], mark]
        at = begin + len(piece)
    return "".join(parts)


def _masked(text: str, found: Found) -> str:
    if not text or not _may_be(text.lower()):
        return text
    text = _without_secrets(text, found)
    if "%" not in text:
        return text
    return _ENCODED.sub(lambda run: _without_encoded(run, found), text)


def _may_be(small: str) -> bool:
    return _has(_MAY_BE_WORDS, small) or _MAY_BE_SHAPES.search(small) is not None


def _has(words: Iterable[str], small: str) -> bool:
    for each in words:  # noqa: SIM110  any() takes twice the time, and this is asked of every message
        if each in small:
            return True
    return False


def _without_secrets(text: str, found: Found) -> str:
    small = text.lower()
    text = _without_shapes(text, found)
    if "\n" in text or "</t" in small:
        text = without_cells(text, tells, lambda name, value: mask_value(name, value, found))
    if _has(_NEEDS["command"], small) and _IS_COMMAND.search(text):
        text = _each(_COMMANDS, "[password]", is_given, text, found)
    has_password, has_token = _has(_NEEDS["password"], small), _has(_NEEDS["token"], small)
    if _has(_NEEDS["assigned"], small) and _IS_ASSIGNED.search(text):
        text = _each(_HEADERS, "[token]", is_given, text, found)
        text = _COOKIES.sub(lambda line: _each([_COOKIE], "[token]", is_mixed, line[0], found), text)
        text = _each([_SESSION], "[token]", is_mixed, text, found)
        if has_password:
            text = _each([_ALONE, _WIFI, *_given("password", text)], "[password]", is_setting, text, found)
            text = _each(_SETTINGS["password"], "[password]", is_setting, text, found, "password")
        if has_token:
            text = _each(_given("token", text), "[token]", is_token_setting, text, found)
            text = _each(_SETTINGS["token"], "[token]", is_token_setting, text, found, "token")
    if has_password and _TELLS_PASSWORD.search(text.lower()):
        text = _each(_SAID["call"], "[password]", is_given, text, found)
        text = _each_of(_LISTS["password"], "[password]", is_password, text, found)
        text = _each([_NAMED["password"]], "[password]", is_password, text, found, "password")
        text = _each(_SAID["password"], "[password]", is_password, text, found)
        text = _each(_SAID["word"], "[password]", is_told, text, found, "password")
    if _has(_NEEDS["beside"], small):
        text = _each(_SAID["beside"], "[password]", is_mixed, text, found)
    if has_token:
        text = _each([_NAMED["token"], _TOLD], "[token]", is_token, text, found, "token")
    text = without_loose_cards(text)
    if _NUMBER.search(text):
        text = without_cards(text)
        for pattern in _BESIDE_CARD:
            text = pattern.sub(r"\1[code]", text)
        if _has(_NEEDS["number"], small):
            text = _each_of(_LISTS["code"], "[code]", is_given, text, found)
            text = _each([_CARD_CODE, *_SAID["number"]], "[code]", is_given, text, found)
        text = _each([_CODE_NAMED, *_SAID["code"]], "[code]", is_given, text, found, "code")
    if _has(_NEEDS["recovery"], small):
        text = _each(_SAID["recovery"], "[code]", is_given, text, found)
    if _has(_NEEDS["wallet"], small):
        text = _each([_WORDS], "[words of a wallet]", is_seed, text, found)
    return _without_found(text, found)


def _without_found(text: str, found: Found) -> str:
    """Without what is said once more, without its name."""
    if not any(each in text for each in found):
        return text

    def put(match: re.Match[str]) -> str:
        is_part = _GOES_ON_BEFORE.search(text[max(0, match.start() - 2) : match.start()])
        return match[0] if is_part or _GOES_ON.match(text, match.end()) else found[match[0]]

    return re.sub("|".join(map(re.escape, sorted(found, key=len, reverse=True))), put, text)


def _without_shapes(text: str, found: Found) -> str:
    """Without what is a secret by its shape, whatever stands around it."""
    has_key_id = "AKIA" in text or "ASIA" in text
    if "-----BEGIN" in text:
        text = _KEY_BLOCK.sub("[private key]", text)
    if "Private-Lines" in text:
        text = _PUTTY_KEY.sub("[private key]", text)
    if "://" in text:
        text = _URL.sub(lambda url: _without_password(url, found), text)
    if _LONG_RUN.search(text) is None:
        return text
    text = _GLUED.sub("[token]", _TOKEN.sub("[token]", text))
    if "//" in text:
        text = _TOKEN_IN_URL.sub(_without_token, text)
    if _AWS_SECRET.search(text) and (has_key_id or _BESIDE_AWS_SECRET.search(text)):
        text = _AWS_SECRET.sub(lambda one: "[token]" if has_key_id or is_random(one[0]) else one[0], text)
    return text


def _given(kind: str, text: str) -> list[LazyPattern]:
    """What may give a value to a name, and does not begin with the name."""
    return [_PAIRS[kind], *(_CALLED[kind] if _IS_CALL.search(text) else ())]


def _each(
    patterns: Iterable[LazyPattern],
    instead: str,
    is_one: Callable[[str], bool],
    text: str,
    found: Found,
    at: str = "",
) -> str:
    """With ``instead`` in the place of each value that a pattern names; ``found`` learns them.

    Args:
        at: a kind of words that all the patterns begin with: they are looked for once.
    """

    def put(match: re.Match[str]) -> str:
        place = match.lastindex or 1
        value = match[place].rstrip(".,;:!?)\\")
        if further := _NEXT_FIELD.search(value):
            value = value[: further.start()]
        begin = match.start(place) - match.start()
        before = match.string[max(0, match.start() - 20) : match.start()]
        if not is_one(value) or _PUBLIC.search(before):
            return match[0]
        learn(found, value, instead)
        return match[0][:begin] + instead + match[0][begin + len(value) :]

    if not at:
        for pattern in patterns:
            text = pattern.sub(put, text)
        return text
    starts = _starts(at, text)
    for pattern in patterns:
        plain = _put_at(pattern, starts, put, text)
        if plain != text:
            text, starts = plain, _starts(at, plain)
    return text


def _starts(kind: str, text: str) -> list[int]:
    return [each.start() for each in _WORDS_OF[kind].finditer(_small(text))]


def _small(text: str) -> str:
    """In small letters, each in its place."""
    small = text.lower()
    return small if len(small) == len(text) else "".join(each.lower()[0] for each in text)


def _put_at(pattern: LazyPattern, starts: Iterable[int], put: Callable[[re.Match[str]], str], text: str) -> str:
    """As ``pattern.sub``, where it may begin at these places only."""
    parts, end = [], 0
    for start in starts:
        if start >= end and (match := pattern.match(text, start)):
            parts += [text[end:start], put(match)]
            end = match.end()
    return "".join([*parts, text[end:]]) if parts else text


def _each_of(
    patterns: Iterable[LazyPattern], instead: str, is_one: Callable[[str], bool], text: str, found: Found
) -> str:
    """The same of each value in a list: "my passwords are Rosebud42 and Tulip!77"."""

    def put(match: re.Match[str]) -> str:
        begin = match.start(1) - match.start()
        return match[0][:begin] + _each([_ONE_OF], instead, is_one, match[1], found)

    for pattern in patterns:
        text = pattern.sub(put, text)
    return text


def _without_password(match: re.Match[str], found: Found) -> str:
    user, password = match[1], match[2]
    if not is_given(password):
        return match[0]
    learn(found, password, "[password]")
    return f"{user}:[password]@"


def _without_token(match: re.Match[str]) -> str:
    """An address whose user is a token."""
    is_one = is_mixed(match[1]) and sum(map(str.isdigit, match[1])) > 2 and "." not in match[1]
    return "[token]" if is_one else match[1]


def _without_encoded(match: re.Match[str], found: Found) -> str:
    """A run of characters that may be percent-encoded, without the secrets that show when it is decoded."""
    plain = unquote(match[0])
    masked = _without_secrets(plain, found)
    return match[0] if masked == plain else quote(masked, safe=":/?#[]@!$&()*+,;=~<>")
