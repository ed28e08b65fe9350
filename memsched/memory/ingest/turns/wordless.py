"""What stands in a text and is no words: pictures and files as base64, data URLs, and markup around nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_MEDIA = {"image": "picture", "audio": "audio", "video": "video"}
_URL = r"data:(?:(?P<{0}>\w+)/[\w.+-]+(?:;[\w.+-]+(?:=[^\s;,]*)?)*|(?:;[\w.+-]+(?:=[^\s;,]*)?)*;base64),[^\s\"'()<>]*"
_DATA = re.compile(
    rf"!\[(?P<alt>[^\[\]\n]{{0,500}})\]\(\s*{_URL.format('shown')}[^()\n]{{0,500}}\)"
    rf"|<(?:img|image|audio|video|source|object|embed)\b(?P<fields>[^<>]*?){_URL.format('tagged')}(?P<others>[^<>]*)>"
    rf"|(?<![\w/]){_URL.format('bare')}",
    re.IGNORECASE | re.ASCII,
)
_ALT = re.compile(r"\balt\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_SHORTEST = 200
"""Characters without a space that no person writes."""
_FILE_FROM, _FILE_KEPT = 2_000, 64
"""Characters: of a file, what says its kind is kept."""
_DEEPEST = 50
_FILE_NAMES = ("url", "data", "b64_json", "file_data", "image_url", "bytes")
_RUN = re.compile(rf"(?<![\w+/=-])[\w+/-]{{{_SHORTEST},}}={{0,2}}(?![\w+/=-])", re.ASCII)
_LINES = re.compile(r"(?<![\w+/=-])(?:[A-Za-z0-9+/]{60,76}\r?\n){3,}[A-Za-z0-9+/]{0,76}={0,2}(?![\w+/=-])", re.ASCII)
_IN_AN_ADDRESS = re.compile(r"://\S*\Z")
_LOOKED_BACK = 2_000
_BLOCKS = (("<!--", "-->"), ("<script", "</script"), ("<style", "</style"), ("<svg", "</svg"))
_MARKUP = re.compile(r"<[a-z/!?][^<>]*>|&(?:#\w+|\w+);|!?\[\s*\]\([^()\n]*\)", re.IGNORECASE)
_MARKDOWN = re.compile(r"[\s|:*_=~`#>-]*")
"""Rules, fences, empty tables and lists."""
_SIGNS = 3
"""So many are markup; fewer may be an answer."""
NO_WORDS = "markup without words"


def placeholder(kind: str, told: str = "") -> str:
    """What stands where a picture, a file or the like stood."""
    return f"[{kind}: {told}]" if told else f"[{kind}]"


def without_data(text: str) -> str:
    """The text, with a placeholder where it holds a file as base64; all else of it to the letter."""
    if "data:" in text or "DATA:" in text:
        text = _DATA.sub(_named, text)
    if len(text) < _SHORTEST:
        return text
    text = _LINES.sub(lambda found: placeholder("data") if _is_base64(found[0]) else found[0], text)
    return _RUN.sub(_unless_address, text)


def without_files(value: Any, name: str = "", depth: int = 0) -> Any:
    """A message as it is, without the bytes of pictures and files, which nobody reads: it has to travel."""
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {key: without_files(each, str(key), depth + 1) for key, each in value.items()}
    if isinstance(value, list) and depth < _DEEPEST:
        return [without_files(each, name, depth + 1) for each in value]
    if not isinstance(value, str) or len(value) < _FILE_FROM:
        return value
    return value[:_FILE_KEPT] if name in _FILE_NAMES and " " not in value else without_data(value)


def is_markup_alone(text: str) -> bool:
    """Whether nothing is left of a text that a person would read, without tags, comments, scripts and rules."""
    if not text.strip():
        return False
    left = _MARKUP.sub(" ", _without_blocks(text)) if "<" in text or "&" in text or "](" in text else text
    if left is text and len("".join(text.split())) < _SIGNS:
        return False
    return _MARKDOWN.fullmatch(left) is not None


def _without_blocks(text: str) -> str:
    for begin, end in _BLOCKS:
        kept, at, lower = [], 0, text.lower()
        if len(lower) != len(text):
            return text
        while (start := lower.find(begin, at)) >= 0 and (stop := lower.find(end, start)) >= 0:
            kept.append(text[at:start])
            at = stop + len(end)
        text = "".join(kept) + text[at:]
    return text


def _named(found: re.Match[str]) -> str:
    alt = found["alt"] or ""
    if named := _ALT.search(f"{found['fields'] or ''} {found['others'] or ''}"):
        alt = named[1] or named[2] or ""
    kind = found["shown"] or found["tagged"] or found["bare"] or ""
    return placeholder(_MEDIA.get(kind.lower(), "file"), " ".join(alt.split()))


def _unless_address(found: re.Match[str]) -> str:
    """A long path of an address has the letters of base64, too."""
    before = found.string[max(0, found.start() - _LOOKED_BACK) : found.start()]
    return found[0] if _IN_AN_ADDRESS.search(before) or not _is_base64(found[0]) else placeholder("data")


def _is_base64(run: str) -> bool:
    """A shout, or a rule of letters, is not: bytes have letters of both cases and digits within so many characters."""
    return any(map(str.isupper, run)) and any(map(str.islower, run)) and any(map(str.isdigit, run))
