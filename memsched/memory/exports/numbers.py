"""Makes JSON of what programs write as numbers: NaN and infinity are none, and one that is too large is a text."""

from __future__ import annotations

import re
import string
from collections.abc import Callable

_NUMBER = rb"\s*+-?+[NI\d](?:aN|nfinity|\d{18}|[\d.]*+[eE][-+]?\d{3})"
_UNUSUAL, _UNUSUAL_FIRST = re.compile(rb"[:,\[]" + _NUMBER), re.compile(_NUMBER)
"""What may be one: few pieces of a file have any, and only they are looked at closely."""
_PART = re.compile(rb'"(?:[^"\\]|\\.)*+(?P<end>"|\\?\Z)|[-+.\w]++', re.DOTALL)
"""A text, which may not end in this piece, or what stands outside of texts."""
_NONE = re.compile(rb"-?(?:NaN|Infinity)")
_LARGE = re.compile(rb"-?\d{19,}(?:\.\d+)?(?:[eE][-+]?\d+)?|-?\d+(?:\.\d+)?[eE][-+]?\d{3,}")
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_IN_NUMBERS = b"-+._" + string.digits.encode() + string.ascii_letters.encode()
_LONGEST = 64 * 1024
"""Of a number; of a longer one the parser says that it is none."""


class PlainNumbers:
    """Reads pieces of JSON, as a file that the parser reads.

    Args:
        pieces: gives the next piece, and an empty one at the end.
    """

    def __init__(self, pieces: Callable[[], bytes]) -> None:
        self._pieces = pieces
        self._within = False
        """The next piece begins within a text."""
        self._held = b""
        """The end of the last piece, which may go on."""

    def read(self, size: int = -1) -> bytes:
        """What is complete of the next piece; the parser asks for nothing to see whether there are bytes."""
        while size:
            piece = self._pieces()
            if mended := self._mended(self._held + piece, last=not piece):
                return mended
            if not piece:
                break
        return b""

    def _mended(self, text: bytes, *, last: bool) -> bytes:
        self._held = b""
        if _UNUSUAL_FIRST.match(text) or _UNUSUAL.search(text):
            opened = b'"' if self._within else b""
            self._within = False
            return _PART.sub(lambda part: self._part(part, last), opened + text)[len(opened) :]
        bare = _ESCAPED.sub(b"", text) if b"\\" in text else text
        self._within ^= bool(bare.count(b'"') % 2)
        if not last:
            begun = bare[len(bare.rstrip(b"\\" if self._within else _IN_NUMBERS)) :]
            self._held = begun if len(begun) < _LONGEST else b""
        return text[: len(text) - len(self._held)]

    def _part(self, part: re.Match[bytes], last: bool) -> bytes:
        found, ends = part[0], part["end"]
        if ends is not None:
            self._within = ends != b'"'
            self._held = b"" if last or ends != b"\\" else ends
            return found[: len(found) - len(self._held)]
        if part.end() == len(part.string) and not last and len(found) < _LONGEST:
            self._held = found
            return b""
        if _NONE.fullmatch(found):
            return b"null"
        return b'"' + found + b'"' if _LARGE.fullmatch(found) and not _fits(found) else found


def _fits(number: bytes) -> bool:
    return len(number) <= 20 and number.lstrip(b"-").isdigit() and -(2**63) <= int(number) < 2**63
