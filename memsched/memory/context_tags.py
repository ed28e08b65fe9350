"""The tags that a message's ``info`` gives its memories: what they are, and to which role or task they are bound."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from memsched.errors import InvalidMessage
from memsched.messages import MAX_ID_CHARACTERS

_KINDS = ("role", "task")
MOST_TAGS, LONGEST_TAG = 64, 64
_NOT_SEEN = r"\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
"""Control characters, and what changes how others are shown."""
TAG = rf"^[^{_NOT_SEEN}]*[^{_NOT_SEEN}\s][^{_NOT_SEEN}]*$"
"""What a tag is made of, as a pattern that other languages understand too. Some of them know no name for half a
surrogate pair, which is looked for apart.
"""
_TAG = re.compile(TAG)
_HALF_A_PAIR = re.compile(r"[\ud800-\udfff]")


def tags_of(info: Mapping[str, Any] | None) -> tuple[str, ...]:
    """``role:nurse`` and ``task:move``, and what ``tags`` lists; none where nothing is said. Raises InvalidMessage."""
    given = [(kind, (info or {}).get(kind)) for kind in _KINDS]
    for kind, name in given:
        if not isinstance(name, str | None):
            raise InvalidMessage(f"info.{kind} must be a text, not {type(name).__name__}")
    named = [(kind, (name or "").strip().casefold()) for kind, name in given]
    if any(len(name) > MAX_ID_CHARACTERS for _, name in named):  # every memory of the message has it
        raise InvalidMessage(f"info.role and info.task have at most {MAX_ID_CHARACTERS} characters")
    bound = [f"{kind}:{name}" for kind, name in named if name]
    try:
        return tuple(dict.fromkeys([*bound, *checked_tags((info or {}).get("tags"))]))
    except ValueError as error:
        raise InvalidMessage(f"info.{error}") from error


def checked_tags(given: Any) -> tuple[str, ...]:
    """Tags as they are kept: in lower case, each once. Raises ValueError for what cannot be tags.

    Such as "medical": an access policy says who may read what has it.
    """
    if given is None:
        return ()
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f"tags must be a list of texts, not {type(given).__name__}")
    found = list(given)
    for each in found:
        if (
            not isinstance(each, str)
            or len(each) > LONGEST_TAG
            or not _TAG.fullmatch(each)
            or _HALF_A_PAIR.search(each)
        ):
            raise ValueError(f"tags: each is a text of 1 to {LONGEST_TAG} printable characters, not {each!r:.80}")
    if len(found) > MOST_TAGS:
        raise ValueError(f"tags: there are {MOST_TAGS} at most, not {len(found)}")
    return tuple(dict.fromkeys(each.strip().casefold() for each in found))


def bound_to(tags: Iterable[str]) -> frozenset[str]:
    """Those of a memory's tags that bind it."""
    return frozenset(tag for tag in tags if tag.startswith(tuple(f"{kind}:" for kind in _KINDS)))
