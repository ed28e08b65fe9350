"""LoCoMo (Maharana et al. 2024): what two people said over many sessions, each with the time when it began."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from memsched.memory.exports.conversation import Conversation, Unreadable, described

_SESSION = re.compile(r"session_(\d+)")
_TIME = "%I:%M %p on %d %B, %Y"
_KEPT = {"speaker": "speaker", "text": "content", "dia_id": "id", "blip_caption": "blip_caption"}


def is_locomo(value: Any) -> bool:
    talk = value.get("conversation") if isinstance(value, Mapping) else None
    return isinstance(talk, Mapping) and any(map(_SESSION.fullmatch, talk))


def locomo(value: Mapping[str, Any]) -> list[Conversation]:
    """Each session is a conversation. Raises Unreadable."""
    talk, about = value["conversation"], described(value)
    numbers = sorted(int(found[1]) for name in talk if (found := _SESSION.fullmatch(name)))
    return [_session(talk, f"session_{number}", about) for number in numbers]


def _session(talk: Mapping[str, Any], name: str, about: Mapping[str, Any]) -> Conversation:
    turns = talk[name]
    if not isinstance(turns, list) or not all(isinstance(each, Mapping) for each in turns):
        raise Unreadable(f"{name} is no list of turns")
    try:
        began = datetime.strptime(talk[f"{name}_date_time"], _TIME).replace(tzinfo=UTC)
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"{name}_date_time is no time as in '1:56 pm on 8 May, 2023'") from error
    messages = [
        {ours: turn[theirs] for theirs, ours in _KEPT.items() if theirs in turn} | {"timestamp": began.isoformat()}
        for turn in turns
    ]
    title = " and ".join(str(talk[each]) for each in ("speaker_a", "speaker_b") if talk.get(each))
    return Conversation(f"{about['key']}/{name}", about["title"] or title, began, messages)
