"""The pointer: which adapter of a cube answers, and how it is turned. Values in, values out."""

from __future__ import annotations

from memsched.errors import MemschedError
from memsched.parameters.record import AdapterState, ParameterState, Serving, Shadow


class NothingActive(MemschedError):
    """No adapter is active: there is nothing to roll back."""


def activated(state: ParameterState, adapter_id: str) -> ParameterState:
    """With this adapter answering; the one before is retired."""
    adapter, serving = state.adapters[adapter_id].to(AdapterState.ACTIVE), state.serving
    before = [each for each in serving.before if each != adapter_id]
    if serving.active and serving.active != adapter_id:
        state = state.with_adapter(state.adapters[serving.active].to(AdapterState.RETIRED))
        before = [*before, serving.active]
    shadow = "" if serving.shadow == adapter_id else serving.shadow
    update = {"active": adapter_id, "before": before, "shadow": shadow}
    return _named(state.with_adapter(adapter), serving.model_copy(update=update))


def shadowed(state: ParameterState, adapter_id: str) -> ParameterState:
    """With this adapter tried beside; the one before is retired."""
    adapter, serving = state.adapters[adapter_id].to(AdapterState.SHADOW, shadow=Shadow()), state.serving
    if serving.shadow and serving.shadow != adapter_id:
        state = state.with_adapter(state.adapters[serving.shadow].to(AdapterState.RETIRED))
    before = [each for each in serving.before if each != adapter_id]
    return _named(state.with_adapter(adapter), serving.model_copy(update={"shadow": adapter_id, "before": before}))


def rolled_back(state: ParameterState) -> ParameterState:
    """With the adapter before answering, or none. Raises NothingActive."""
    serving = state.serving
    if not serving.active:
        raise NothingActive
    state = state.with_adapter(state.adapters[serving.active].to(AdapterState.RETIRED))
    *before, last = serving.before or [""]
    if last:
        state = state.with_adapter(state.adapters[last].to(AdapterState.ACTIVE))
    return _named(state, serving.model_copy(update={"active": last, "before": before}))


def _named(state: ParameterState, serving: Serving) -> ParameterState:
    """With the pointer, and what it needs to know of those that it points to."""
    pointed = [state.adapters[each] for each in (serving.active, serving.shadow) if each]
    names = {each.adapter_id: each.name for each in pointed}
    own = [each.adapter_id for each in pointed if each.scope == "own"]
    return state.model_copy(update={"serving": serving.model_copy(update={"names": names, "own": own})})
