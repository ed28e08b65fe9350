"""JSON as text: where the members of an object stand in it, so that one can be changed and the rest stays as it came.

Who reads numbers and writes them again turns 1E5 into 100000.0, and a long one into another one.
"""

from __future__ import annotations

import json
import re

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class NamedTwice(Exception):
    """An object has two members of one name: readers differ in which of them counts."""


def decoded(raw: bytes) -> str:
    """The text of JSON, as ``json.loads`` reads it. Raises ValueError."""
    return raw.decode(json.detect_encoding(raw), "surrogatepass")


def behind_space(text: str, at: int = 0) -> int:
    """The next place that is no white space."""
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def members_at(text: str, at: int) -> dict[str, tuple[int, int]]:
    """Where the values of the object stand that begins at ``at``, by name: from, and to. Raises NamedTwice.

    Args:
        text: JSON, which was read without an error.
    """
    found: dict[str, tuple[int, int]] = {}
    at = behind_space(text, at + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        begin = behind_space(text, behind_space(text, at) + len(":"))
        _, end = _DECODER.raw_decode(text, begin)
        if name in found:
            raise NamedTwice
        found[name] = begin, end
        at = behind_space(text, end)
        if text[at] == ",":
            at = behind_space(text, at + 1)
    return found
