"""Retelling: whether a turn is one that was told before, in a history that comes once more.

What a user deleted, or had forgotten, must not return with it. A turn is known by its own id; by the time that it
tells; by what stood beside it, where three turns in a row are told again; and by its place in a beginning of its
session that is. Said at another time, or later, or alone, the same words are a new statement.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from memsched.memory.ingest.deduplication import content_hash
from memsched.memory.ingest.turns import Turn
from memsched.memory.model import Memory, as_called, to_ms

_ROW = 3
"""Turns. Two are often said again: the same short answer to the same question."""
_DIGEST_BYTES = 6
_MOST_TRIGRAMS = 60
"""Of a memory, those that came first: of what is said again and again."""


@dataclass(frozen=True, slots=True)
class Told:
    """The names by which something may have been told before.

    Args:
        names: by its id, its time, its place.
        said: by its words alone; that says nothing yet, but without it ``rows`` need not be looked for.
        rows: by what stands beside it.
    """

    names: frozenset[str] = frozenset()
    said: str = ""
    rows: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Session:
    """The turns of a session in one message, in order: all, the user's, and those of both that stand there."""

    turns: tuple[int, ...]
    by_user: tuple[int, ...]
    standing: tuple[int, ...]
    by_user_standing: tuple[int, ...]


def with_trigrams(turns: Sequence[Turn]) -> list[Turn]:
    """The turns of one message, each with names of the rows of three that it stands in: of all turns of its session,
    and of the user's alone.

    Who speaks is the user, the assistant, or somebody by name; so the user's own name makes no difference.
    """
    told = [_told(turn) for turn in turns]
    sessions: dict[str, list[int]] = {}
    for number, turn in enumerate(turns):
        sessions.setdefault(turn.session_id, []).append(number)
    found: list[dict[str, None]] = [{} for _ in turns]
    for session, numbers in sessions.items():
        start = hashlib.blake2b(session.encode("utf-8", "replace"), digest_size=_DIGEST_BYTES).digest()
        for those in (numbers, [number for number in numbers if turns[number].by_user]):
            for row in zip(*(those[at:] for at in range(_ROW)), strict=False):
                digest = hashlib.blake2b(start + b"".join(told[number] for number in row), digest_size=_DIGEST_BYTES)
                name = base64.urlsafe_b64encode(digest.digest()).decode()
                for place, number in enumerate(row):
                    found[number][f"{name}{place}"] = None
    return [replace(turn, trigrams=tuple(names)) for turn, names in zip(turns, found, strict=True)]


def more_trigrams(memory: Memory, told: Mapping[str, int]) -> dict[str, int]:
    """What of these a memory does not have, as far as it has room."""
    room = _MOST_TRIGRAMS - len(memory.trigrams)
    return dict([each for each in told.items() if each[0] not in memory.trigrams][: max(0, room)])


def names_of(memory: Memory) -> frozenset[str]:
    """All names by which what a memory holds may be told again, as tombstones have them."""
    if memory.kind not in ("turn", "preference"):
        return frozenset()
    names = {_name(memory, "id", reference) for reference in memory.sources.values() if reference}
    names |= {_name(memory, "at", at // 1000) for at in (to_ms(memory.at), *memory.said_again.values())}
    names |= {_name(memory, "place", memory.turn)} if memory.session_id else set()
    if memory.trigrams:
        names.add(_name(memory, "said", ""))
    return frozenset(names | {_row(name, memory, timed=bool(timed)) for name, timed in memory.trigrams.items()})


def names_told(said: Sequence[Memory], known: Mapping[str, Sequence[Memory]]) -> dict[str, Told]:
    """By id of what is said in one message, the names by which it may have been told before.

    Args:
        said: in order.
        known: stored memories by content hash.
    """
    first: dict[str, int] = {}
    for each in said:
        first.setdefault(each.session_id, each.turn)
    stay = {each.memory_id for each in said if _stands_there(each, first, known.get(each.content_hash, ()))}
    sessions = _sessions(said, stay)
    found = {}
    for each in said:
        if each.kind not in ("turn", "preference"):
            found[each.memory_id] = Told()
            continue
        names = {_name(each, "id", reference) for reference in each.sources.values() if reference}
        if each.ingested_at is not None:
            names.add(_name(each, "at", to_ms(each.at) // 1000))
        elif not names and each.session_id:
            start = first[each.session_id]
            session = sessions[each.session_id]
            goes_on = len(session.turns) > 1 and start == 1 and _session(each) != "" and each.turn == start
            if goes_on or _is_retold(each.turn, session):
                names.add(_name(each, "place", each.turn - start))
        found[each.memory_id] = Told(frozenset(names), _name(each, "said", ""), frozenset(_rows_told(each)))
    return found


def _rows_told(each: Memory) -> Iterable[str]:
    """What told its time is told again by that, or without a time."""
    for name in each.trigrams:
        yield _row(name, each, timed=False)
        if each.ingested_at is None:
            yield _row(name, each, timed=True)


def _told(turn: Turn) -> bytes:
    who = "user" if turn.by_user else "assistant" if turn.by_assistant else f"={as_called(turn.speaker)}"
    text = " ".join(turn.text.casefold().split())
    return hashlib.blake2b(f"{who}\x1f{text}".encode("utf-8", "replace"), digest_size=_DIGEST_BYTES).digest()


def _is_retold(turn: int, session: _Session) -> bool:
    """Whether what is said with it is a beginning that stands there, told again: some turns, or one and more to come.

    One turn alone that stands there may be said anew: the same short answer to the same question. So may one behind
    the same questions, if the other answers differ.
    """
    last = _other(reversed(session.standing), turn)
    if last is None:
        return False
    answer = _other(session.by_user, turn)
    if answer is not None and answer < last and _other(session.by_user_standing, turn) is None:
        return False
    final = _other(reversed(session.turns), turn)
    return _other(session.standing, turn) != last or (final is not None and final > last)


def _other(turns: Iterable[int], turn: int) -> int | None:
    return next((each for each in turns if each != turn), None)


def _sessions(said: Sequence[Memory], stay: Set[str]) -> dict[str, _Session]:
    found: dict[str, list[Memory]] = {}
    for each in said:
        found.setdefault(each.session_id, []).append(each)
    return {
        name: _Session(
            _turns(theirs),
            _turns(each for each in theirs if each.by_user),
            _turns(each for each in theirs if each.memory_id in stay),
            _turns(each for each in theirs if each.by_user and each.memory_id in stay),
        )
        for name, theirs in found.items()
    }


def _turns(said: Iterable[Memory]) -> tuple[int, ...]:
    return tuple(sorted({each.turn for each in said}))


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
    speaker = "" if memory.by_user else memory.speaker or memory.said_by
    told = [kind, what, _session(memory), memory.part, content_hash(speaker, memory.text)]
    return hashlib.sha256(json.dumps(told).encode("utf-8", "replace")).hexdigest()[:32]


def _row(name: str, memory: Memory, *, timed: bool) -> str:
    return f"{'@' if timed else '~'}{name}{memory.part or ''}"
