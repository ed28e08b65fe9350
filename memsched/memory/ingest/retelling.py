"""Retelling: whether a turn is one that was told before, in a history that comes once more.

What a user deleted, or had forgotten, must not return with it. A turn is known by its own id; by the time that it
tells; and where it tells neither, by its place in a beginning of its session that is told again. Said at another time,
or later, the same words are a new statement.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from memsched.memory.ingest.deduplication import content_hash
from memsched.memory.model import Memory, to_ms


def names_of(memory: Memory) -> frozenset[str]:
    """All names by which what a memory holds may be told again, as tombstones have them."""
    if memory.kind not in ("turn", "preference"):
        return frozenset()
    names = {_name(memory, "id", reference) for reference in memory.sources.values() if reference}
    names |= {_name(memory, "at", at) for at in (to_ms(memory.at), *memory.said_again.values())}
    return frozenset(names | ({_name(memory, "place", memory.turn)} if memory.session_id else set()))


def names_told(said: Sequence[Memory], known: Mapping[str, Sequence[Memory]]) -> dict[str, frozenset[str]]:
    """By id of what is said in one message, the names by which it may have been told before.

    Args:
        said: in order.
        known: stored memories by content hash.
    """
    first: dict[str, int] = {}
    for each in said:
        first.setdefault(each.session_id, each.turn)
    stay = {each.memory_id for each in said if _stands_there(each, first, known.get(each.content_hash, ()))}
    found = {}
    for each in said:
        names = {_name(each, "id", reference) for reference in each.sources.values() if reference}
        if each.ingested_at is not None:
            names.add(_name(each, "at", to_ms(each.at)))
        elif not names and each.session_id:
            start = first[each.session_id]
            others = any(other.session_id == each.session_id and other.turn != each.turn for other in said)
            goes_on = others and start == 1 and _session(each) != "" and each.turn == start  # of a session of one turn
            if goes_on or _is_retold(each, said, stay):
                names.add(_name(each, "place", each.turn - start))
        found[each.memory_id] = frozenset(names) if each.kind in ("turn", "preference") else frozenset()
    return found


def _is_retold(each: Memory, said: Sequence[Memory], stay: set[str]) -> bool:
    """Whether what is said with it is a beginning that stands there, told again: some turns, or one and more to come.

    One turn alone that stands there may be said anew: the same short answer to the same question.
    """
    theirs = [other for other in said if other.session_id == each.session_id and other.turn != each.turn]
    standing = {other.turn for other in theirs if other.memory_id in stay}
    return len(standing) > 1 or any(other.turn > max(standing) for other in theirs if standing)


def _stands_there(each: Memory, first: Mapping[str, int], known: Sequence[Memory]) -> bool:
    """Whether the session has the same turn at the place that it has in its message."""
    place = each.turn - first[each.session_id]
    return bool(each.session_id) and any(
        other.session_id and other.memory_id != each.memory_id and other.turn == place
        for other in known
        if _session(other) == _session(each)
    )


def _session(memory: Memory) -> str:
    """The session that was given; a message that came without one is a session of its own."""
    return "" if any(memory.session_id == source.rpartition("#")[0] for source in memory.sources) else memory.session_id


def _name(memory: Memory, kind: str, what: str | int) -> str:
    told = [kind, what, _session(memory), memory.part, content_hash(memory.speaker or memory.said_by, memory.text)]
    return hashlib.sha256(json.dumps(told).encode("utf-8", "replace")).hexdigest()[:32]
