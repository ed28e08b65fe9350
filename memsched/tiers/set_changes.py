"""Which memories came into a working set or a block with a change, which left it, and why: people are told of each."""

from __future__ import annotations

from typing import Any

from memsched.messages import ACTIVATION_MEMORY_TYPE, WORKING_MEMORY_TYPE
from memsched.policy.block import Member
from memsched.policy.strategy import CubeMemory
from memsched.tiers.hot_state import HotState, WorkingMemory

_COMES = {
    "value": "it is among the most valuable",
    "reserved": "it must never be forgotten",
    "pinned": "it is pinned",
}
"""By source."""
_INTO_BLOCK = "it is near, and its theme is not over"
_OUT_OF_BLOCK = "the block was written anew without it: it is near no more, or its theme is over"
KINDS = ("came_in", "went_out", "into_block", "out_of_block")
"""Of changes."""


def set_changes(before: HotState, after: HotState) -> dict[str, list[dict[str, Any]]]:
    """``came_in`` and ``went_out``: each with from, to, reason, score and parts, if the set is another one; and if the
    block is, ``into_block`` and ``out_of_block``.
    """
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
    changes = {"came_in": came, "went_out": went} if came or went else {}
    return changes | block_changes(before, after)


def block_changes(before: HotState, after: HotState) -> dict[str, list[dict[str, Any]]]:
    """Which members came into the block (``into_block``), and which left it; {} if they are the same."""
    old, new = ({each.memory_id for each in state.block} for state in (before, after))
    gone = old.intersection(before.deleting)
    into = [
        _step(each, WORKING_MEMORY_TYPE, ACTIVATION_MEMORY_TYPE, _INTO_BLOCK)
        for each in after.block
        if each.memory_id not in old
    ]
    out = [
        _step(each, ACTIVATION_MEMORY_TYPE, WORKING_MEMORY_TYPE, _OUT_OF_BLOCK)
        for each in before.block
        if each.memory_id not in new | gone
    ]
    return {name: steps for name, steps in (("into_block", into), ("out_of_block", out)) if steps}


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
    return {**_step(each, from_tier, to_tier, reason), "score": each.score, "parts": each.parts}


def _step(each: WorkingMemory | Member, from_tier: str, to_tier: str, reason: str) -> dict[str, Any]:
    return {"memory_id": each.memory_id, "from": from_tier, "to": to_tier, "reason": reason}
