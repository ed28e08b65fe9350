"""What stands in a text and is no words: pictures and files as base64, data URLs, and markup around nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from memsched.memory.ingest.turns.forms import TAGS

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
_LOOKED_BACK = _LOOKED_AT = 2_000
_LONG_CONTENT = 40
"""Characters of a data URL that is no base64."""
_BETWEEN = re.compile(r"[/_-]")
_LONGEST_PART, _ALIKE = 50, 0.8
"""Of a path: characters between two of its slashes, and the share of neighbours that a word has."""
_BLOCKS = (("<!--", "-->"), ("<script", "</script"), ("<style", "</style"), ("<svg", "</svg"))
_MARKUP = re.compile(
    rf"<(?:{'|'.join(TAGS)})(?:[\s/][^<>]*)?>|</[a-z][\w:-]*\s*>|<[!?][^<>]*>|&(?:#\w+|\w+);|!?\[\s*\]\([^()\n]*\)",
    re.IGNORECASE,
)
"""The tags of HTML; <Berlin> and <https://example.org> are words."""
_MARKDOWN = re.compile(r"([*_=~`#>-])(?:[^\S\n]*+\1){2,}|\|[|:\s-]*+|[-*>#|\s]{0,8}")
"""A line: a rule, a fence, an empty row, item or heading. A face such as -_- is none."""
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
    if left is not text and any("".join(one or other).strip() for one, other in _ALT.findall(text)):
        return False  # what a picture shows
    return all(_MARKDOWN.fullmatch(line.strip()) for line in left.splitlines())


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
    if found["shown"] is None and found["tagged"] is None and not _is_data_url(found[0], found["bare"] or ""):
        return found[0]
    alt = found["alt"] or ""
    if named := _ALT.search(f"{found['fields'] or ''} {found['others'] or ''}"):
        alt = named[1] or named[2] or ""
    kind = found["shown"] or found["tagged"] or found["bare"] or ""
    return placeholder(_MEDIA.get(kind.lower(), "file"), " ".join(alt.split()))


def _unless_address(found: re.Match[str]) -> str:
    """A long path of an address has the letters of base64, too."""
    before = found.string[max(0, found.start() - _LOOKED_BACK) : found.start()]
    named = _IN_AN_ADDRESS.search(before) or _is_path(found[0]) or not _is_base64(found[0])
    return found[0] if named else placeholder("data")


def _is_data_url(url: str, kind: str) -> bool:
    """Of one that stands within a sentence: somebody may write of data:users/names,addresses."""
    head, _, content = url.partition(",")
    if kind.lower() in _MEDIA or head.lower().endswith(";base64"):
        return True
    return bool(kind) and "%" in content and len(content) >= _LONG_CONTENT


def _is_path(run: str) -> bool:
    """The parts of a path are words: letters of one kind side by side, where bytes have any beside any."""
    run = run[:_LOOKED_AT]
    if len(_BETWEEN.findall(run)) * _LONGEST_PART < len(run):
        return False
    pairs = [pair for part in _BETWEEN.split(run) for pair in pairwise(part)]
    alike = sum(one.isalpha() == other.isalpha() and (one.isupper() or not other.isupper()) for one, other in pairs)
    return bool(alike >= _ALIKE * len(pairs))


def _is_base64(run: str) -> bool:
    """A shout, or a rule of letters, is not: bytes have letters of both cases and digits within so many characters."""
    return any(map(str.isupper, run)) and any(map(str.islower, run)) and any(map(str.isdigit, run))
