"""What would have a memory enter the working set, or leave it: the strategy is asked, as if it were worth more."""

from __future__ import annotations

from dataclasses import dataclass, replace

from memsched.policy.strategy import Candidate, CubeMemory
from memsched.tiers.checked import CheckedPolicy
from memsched.tiers.hot_state import HotState
from memsched.tiers.working_set import Look, chosen_of


@dataclass(frozen=True, slots=True)
class SetOutlook:
    """Where a memory stands to the working set that follows from how things are now.

    Args:
        source: why it is in the set, as ``WorkingMemory.sources`` says; "" if it is not.
        bound: it is in the set while its value is above this, and all else stays as it is; None: whatever it is worth.
        room: whether the set has room for all there is.
    """

    source: str
    bound: float | None
    room: bool


def set_outlook(policy: CheckedPolicy, look: Look, state: HotState, size: int, memory_id: str) -> SetOutlook:
    """Ask the strategy with the memory at other places of the order by value.

    Args:
        look: of which the memory is a candidate.
    """
    place = next(at for at, each in enumerate(look.candidates) if each.memory.memory_id == memory_id)
    asked = look.candidates[place]
    others = [*look.candidates[:place], *look.candidates[place + 1 :]]

    def source(place: int, candidate: Candidate) -> str:
        moved = replace(look, candidates=[*others[:place], candidate, *others[place:]])
        chosen = chosen_of(policy, moved, state, size)
        return next((each.source for each in chosen if each.memory.memory_id == memory_id), "")

    def is_in(place: int) -> bool:
        value = others[place].value if place < len(others) else 0.0
        return bool(source(place, asked._replace(value=value)))

    now, room = source(place, asked), len(others) < size
    if is_in(len(others)) or not is_in(0):
        return SetOutlook(now, None, room)
    inside, outside = 0, len(others)
    while outside - inside > 1:
        between = (inside + outside) // 2
        inside, outside = (between, outside) if is_in(between) else (inside, between)
    return SetOutlook(now, others[inside].value, room)


def said_of(outlook: SetOutlook, memory: CubeMemory, state: HotState, near: bool) -> str:
    """The same in words, with the figures.

    Args:
        near: whether it is in the set as it is read, with what is predicted.
    """
    in_set = memory.memory_id in {each.memory_id for each in state.working_set}
    found = []
    if near and not in_set:
        found.append("It is near because of what somebody is typing, and leaves with their question.")
    elif in_set and not near:
        found.append("It makes way for what somebody is typing, until their question.")
    if outlook.source == "reserved":
        found.append(f"It has one of the places for what must never be forgotten ({memory.vital}).")
    if in_set != bool(outlook.source):
        found.append(f"The next message {'takes it out of' if in_set else 'brings it into'} the working set.")
    elif outlook.bound is not None and in_set:
        found.append(f"It leaves the working set when its value falls below {outlook.bound:.9f}, as others stand now.")
    elif outlook.bound is not None:
        found.append(
            f"It enters the working set when its value is above {outlook.bound:.9f}, as others stand now: by an answer "
            "that uses it, or something near it."
        )
    elif in_set:
        found.append(f"It stays in the working set {'until more is told' if outlook.room else 'whatever it is worth'}.")
    else:
        found.append("Its value does not bring it into the working set: the strategy in use goes by something else.")
    return " ".join(found)
