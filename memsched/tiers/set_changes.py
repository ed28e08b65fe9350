"""Which memories came into a working set with a change, which left it, and why: people are told of each of them."""

from __future__ import annotations

from typing import Any

from memsched.messages import WORKING_MEMORY_TYPE
from memsched.policy.strategy import CubeMemory
from memsched.tiers.hot_state import HotState, WorkingMemory

_COMES = {
    "value": "it is among the most valuable",
    "reserved": "it must never be forgotten",
    "pinned": "it is pinned",
}
"""By source."""


def set_changes(before: HotState, after: HotState) -> dict[str, list[dict[str, Any]]]:
    """``came_in`` and ``went_out``: each with from, to, reason, score and parts; {} if the set is the same."""
    old = {each.memory_id for each in before.working_set}
    new = {each.memory_id for each in after.working_set}
    came = [
        _change(each, each.memory_type, WORKING_MEMORY_TYPE, " and ".join(_COMES.get(by, by) for by in each.sources))
        for each in after.working_set
        if each.memory_id not in old
    ]
    went = [
        _change(each, WORKING_MEMORY_TYPE, each.memory_type, after.left.get(each.memory_id, why_not(None)))
        for each in before.working_set
        if each.memory_id not in new
    ]
    return {"came_in": came, "went_out": went} if came or went else {}


def why_not(memory: CubeMemory | None) -> str:
    """Why a memory is not in the set any more, as it stands now; None: it is not there."""
    if memory is None:
        return "it was deleted"
    if memory.superseded_by:
        return "it was corrected"
    if memory.archived:
        return "it was archived"
    return "others are worth more"


def _change(each: WorkingMemory, from_tier: str, to_tier: str, reason: str) -> dict[str, Any]:
    where = {"memory_id": each.memory_id, "from": from_tier, "to": to_tier, "reason": reason}
    return {**where, "score": each.score, "parts": each.parts}
