"""Redaction: keys, tokens, passwords and card numbers in what people say are replaced before anything is done with it.

No scanner's library is used: detect-secrets, the best kept, tells whether a line of code holds a secret and not where
it ends, knows of a private key its first line, takes no card numbers, and needs an HTTP client to verify what it finds.
Its shapes of tokens are in ``redaction_rules.json``, with what talk needs: passwords that are named, addresses with a
password, whole key blocks, and card numbers by their issuer and check digit (ISO/IEC 7812).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Literal

from memsched.messages import ScheduleMessageItem

Secrets = Literal["keep", "mask", "drop"]
"""What becomes of a text with a secret: kept as it is, kept without the secret, not kept."""

_RULES: dict[str, Any] = json.loads(files(__package__).joinpath("redaction_rules.json").read_text(encoding="utf-8"))
_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?:[\s\S]*?-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
    r"|\s*[A-Za-z0-9+/=\s:,-]{30,})"
)
_URL = re.compile(r"(?<=://)([^\s/:@]*):([^\s/]+)@(?=[\w.\[-])")
_TOKEN = re.compile(r"(?<![A-Za-z0-9_-])(?:" + "|".join(_RULES["tokens"]) + r")(?![A-Za-z0-9])")
_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9/+=])(?=\S*[A-Z])(?=\S*[g-z])(?=\S*\d)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
"""Only beside the id of an access key."""
_VALUE = r"[\"'`\u201c\u201e]?([^\s\"'`\u201c\u201d\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]{6,})"
_NAMED = {
    kind: re.compile(rf"{_RULES['before'][kind]}{words}{_RULES['joins']}{_VALUE}", re.IGNORECASE)
    for kind, words in _RULES["named"].items()
}
_IN_COMMANDS = re.compile(_RULES["commands"])
_PATH = re.compile(r"/.+|[\w.-]+(?:/[\w.-]+)+|\w+(?:-[A-Za-z]{2,}){2,}")
"""A path, or words with hyphens."""
_CODE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+[(\[]|(?:/[\w.-]+)+/?$")
"""What a program puts there: ``os.environ[``; or a path."""
_NO_VALUE = re.compile(_RULES["no_value"], re.IGNORECASE)
_ORDER = re.compile(rf"(?<![A-Za-z]){_RULES['orders']}", re.IGNORECASE)
_CARD = re.compile(
    r"(?<![A-Za-z0-9_./+-])"
    r"(?:\d{4}([ \u00a0-]{1,2})\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ \u00a0-])\d{6}\2\d{4,5}|\d{13,19})"
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
_HEX_OR_UUID = re.compile(r"[0-9a-f]{6,}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_MAY_BE = re.compile(
    r"\d{4}|://|authorization|-u |--user|-----BEGIN|[a-zA-Z\d]{2}[_-][A-Za-z0-9]|[A-Z0-9]{12}|eyJ|hvs\.|dp\.|atlasv1|"
    r"pass|pwd|\bpw\b|kennwort|contrase|clave|key|schl\u00fcssel|token|secret|\u5bc6|\u4ee4|\u53e3\u4ee4",
    re.IGNORECASE,
)
"""Without any of these there is none: most texts are not looked at closer."""
_LEAST_TOKEN = 16


def redacted(text: str, how: Secrets = "mask") -> str:
    """A text without its secrets; of one that holds any nothing, where such texts are dropped."""
    if how == "keep" or not text or _MAY_BE.search(text) is None:
        return text
    plain = mask(text)
    return "" if how == "drop" and plain != text else plain


def asked(text: str, how: Secrets) -> str:
    """A question without its secrets: it is answered where what holds one is dropped, too."""
    return redacted(text, "keep" if how == "keep" else "mask")


def mask(text: str) -> str:
    """A text with what stands for a secret in the place of each; the same text if there is none."""
    has_key_id = "AKIA" in text or "ASIA" in text
    text = _KEY_BLOCK.sub("[private key]", text)
    text = _URL.sub(_without_password, text)
    text = _TOKEN.sub("[token]", text)
    if has_key_id:
        text = _AWS_SECRET.sub("[token]", text)
    text = _IN_COMMANDS.sub(_without_named("[password]", _is_in_command), text)
    text = _NAMED["password"].sub(_without_named("[password]", _is_password), text)
    text = _NAMED["token"].sub(_without_named("[token]", _is_token), text)
    return _CARD.sub(_without_card, text)


def _without_password(match: re.Match[str]) -> str:
    return match[0] if _NO_VALUE.fullmatch(match[2]) else f"{match[1]}:[password]@"


def _without_named(instead: str, is_one: Callable[[str], bool]) -> Callable[[re.Match[str]], str]:
    def put(match: re.Match[str]) -> str:
        value = match[1].rstrip(".,;:!?)")
        begin = match.start(1) - match.start()
        if not is_one(value):
            return match[0]
        return match[0][:begin] + instead + match[0][begin + len(value) :]

    return put


def _is_password(value: str) -> bool:
    """Whether nobody would write this word but as a password: with digits or marks in it."""
    if _NO_VALUE.fullmatch(value) or "://" in value or _CODE.match(value):
        return False
    digits, letters = any(map(str.isdigit, value)), any(map(str.isalpha, value))
    marks = any(not each.isalnum() and each not in "-'/.\u2019" for each in value)
    inner_capital = re.search(r"[a-z][A-Z]", value) is not None
    return (digits and letters) or (marks and letters) or (digits and value.isdigit()) or inner_capital


def _is_in_command(value: str) -> bool:
    return not _NO_VALUE.fullmatch(value)


def _is_token(value: str) -> bool:
    if (
        len(value) < _LEAST_TOKEN
        or _NO_VALUE.fullmatch(value)
        or "://" in value
        or "[" in value
        or _PATH.fullmatch(value)
    ):
        return False
    if _HEX_OR_UUID.fullmatch(value) and "-" in value:
        return False
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def _without_card(match: re.Match[str]) -> str:
    text, at = match.string, match.start()
    digits = re.sub(r"\D", "", match[0])
    is_card = any(issuer.match(digits) and len(digits) in lengths for issuer, lengths in _ISSUERS)
    if not is_card or not _passes_luhn(digits) or len(set(digits)) == 1:
        return match[0]
    before = text[max(0, at - 40) : at]
    return match[0] if _ORDER.search(before) or _IBAN_BEFORE.search(before) else "[card number]"


def _passes_luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    values = [int(each) for each in reversed(digits)]
    return sum(value if place % 2 == 0 else sum(divmod(2 * value, 10)) for place, value in enumerate(values)) % 10 == 0


# -- messages --------------------------------------------------------------------------------------------------------

_IDS = frozenset(("memory_id", "memory_ids", "read_for", "id", "message_id", "session_id"))


def redacted_message(message: ScheduleMessageItem, how: Secrets) -> ScheduleMessageItem:
    """A message whose texts hold no secrets; the same object if there is none."""
    changes = _redacted_fields(message, how)
    return message.model_copy(update=changes) if changes else message


def redact(message: ScheduleMessageItem, how: Secrets) -> None:
    """The same of a message that is known by its identity."""
    for name, value in _redacted_fields(message, how).items():
        setattr(message, name, value)


def _redacted_fields(message: ScheduleMessageItem, how: Secrets) -> dict[str, Any]:
    if how == "keep":
        return {}
    given = {name: getattr(message, name) for name in ("content", "user_name", "info", "chat_history")}
    kept = {name: _redacted_value(value, how) for name, value in given.items()}
    return {name: value for name, value in kept.items() if value is not given[name]}


def _redacted_value(given: Any, how: Secrets) -> Any:
    """Any JSON value with its texts redacted; the same object if there is nothing to do."""
    if isinstance(given, str):
        kept = redacted(given, how)
        return given if kept == given else kept
    if isinstance(given, Mapping):
        values = {name: each if name in _IDS else _redacted_value(each, how) for name, each in given.items()}
        return values if any(values[name] is not given[name] for name in values) else given
    if isinstance(given, list | tuple):
        parts = [_redacted_value(each, how) for each in given]
        return parts if any(new is not old for new, old in zip(parts, given, strict=True)) else given
    return given
