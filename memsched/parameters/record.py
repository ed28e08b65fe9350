"""What is kept of an adapter: its state, whose memories went into it, and what was measured. Never a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from memsched.errors import MemschedError
from memsched.parameters.gate import Figures

Part = Literal["member", "replay"]
Scope = Literal["own", "shared"]


class AdapterState(StrEnum):
    """Where an adapter stands. ``FOLLOWS`` has which state may follow which."""

    CANDIDATE = "candidate"
    EXPORTED = "exported"
    TRAINED = "trained"
    GATED = "gated"
    REFUSED = "refused"
    SHADOW = "shadow"
    ACTIVE = "active"
    RETIRED = "retired"
    REVOKED = "revoked"


_S = AdapterState
FOLLOWS: Mapping[AdapterState, Set[AdapterState]] = {
    _S.CANDIDATE: {_S.EXPORTED},
    _S.EXPORTED: {_S.TRAINED},
    _S.TRAINED: {_S.GATED, _S.REFUSED},
    _S.GATED: {_S.SHADOW, _S.ACTIVE},
    _S.REFUSED: set(),
    _S.SHADOW: {_S.ACTIVE, _S.RETIRED},
    _S.ACTIVE: {_S.RETIRED},
    _S.RETIRED: {_S.SHADOW, _S.ACTIVE},
    _S.REVOKED: set(),
}
"""Whatever is not revoked can be; a revoked one stays so."""


class WrongState(MemschedError):
    """An adapter is not in a state in which this can be done with it."""

    def __init__(self, adapter_id: str, state: AdapterState, wanted: str) -> None:
        super().__init__(f"Adapter {adapter_id} is {state}; {wanted}.")


class TrainedMemory(BaseModel):
    """A memory whose text went into an adapter.

    Attributes:
        version: as the memory had it then.
        owner: who said it, by their id: their consent counts.
        part: whether it is to be known, or only not to be forgotten.
    """

    model_config = ConfigDict(frozen=True)

    version: int
    owner: str
    part: Part = "member"


class Shadow(BaseModel):
    """How an adapter in shadow did: of so many questions, how often it said what was said, and how often nothing."""

    model_config = ConfigDict(frozen=True)

    asked: int = 0
    agreed: int = 0
    failed: int = 0


class Adapter(BaseModel):
    """One adapter, from the choice of its memories on.

    Attributes:
        scope: whom it serves: the cube's owner alone, or whoever may read the cube.
        name: by which the model's server knows it: it follows from the weights, and is never used again.
        memories: what went into it, by id; of a revoked one, none.
        data_hash: of the data set's files.
        reason: why it was refused or revoked.
        loaded: whether a model's server was ever told to load it.
        loading_until: ms since the epoch: until then it may still be being loaded, by somebody who may have died.
        files: whether its folder may still be there.
    """

    model_config = ConfigDict(frozen=True)

    adapter_id: str
    state: AdapterState = AdapterState.CANDIDATE
    scope: Scope = "own"
    name: str = ""
    created_at: datetime
    memories: dict[str, TrainedMemory] = Field(default_factory=dict)
    data_hash: str = ""
    figures: Figures | None = None
    shadow: Shadow = Shadow()
    reason: str = ""
    loaded: bool = False
    loading_until: int = 0
    files: bool = True

    @property
    def members(self) -> list[str]:
        return sorted(memory_id for memory_id, each in self.memories.items() if each.part == "member")

    def to(self, state: AdapterState, **changed: object) -> Adapter:
        """The same in its next state. Raises WrongState."""
        if state not in FOLLOWS[self.state]:
            before = sorted(each for each, then in FOLLOWS.items() if state in then)
            raise WrongState(self.adapter_id, self.state, f"only one that is {' or '.join(before)} can be {state}")
        return self.model_copy(update={"state": state, **changed})

    def revoked(self, reason: str) -> Adapter:
        """The same without anything that tells what it was made of."""
        return self.model_copy(
            update={"state": AdapterState.REVOKED, "reason": reason, "memories": {}, "data_hash": ""}
        )


class Serving(BaseModel):
    """The pointer: which adapter a cube's chats name.

    Attributes:
        active: the adapter's id, or "".
        before: those that were active before it, the latest last: what a rollback goes back to.
        shadow: the id of the one that answers beside, unseen; or "".
        names: what the server calls them, by id.
        own: ids of those that serve the cube's owner alone.
    """

    model_config = ConfigDict(frozen=True)

    active: str = ""
    before: list[str] = Field(default_factory=list)
    shadow: str = ""
    names: dict[str, str] = Field(default_factory=dict)
    own: list[str] = Field(default_factory=list)

    def named(self, is_owner: bool) -> str | None:
        """What a chat of the cube's owner, or of somebody else, names."""
        return self._name(self.active, is_owner)

    def beside(self, is_owner: bool) -> str | None:
        """What answers beside, unseen."""
        return self._name(self.shadow, is_owner)

    def _name(self, adapter_id: str, is_owner: bool) -> str | None:
        return self.names.get(adapter_id) if is_owner or adapter_id not in self.own else None


class ParameterState(BaseModel):
    """All that a cube has of parameter memory, at one version.

    Attributes:
        adapters: by id.
        consents: when each user consented that what they said here goes into weights, ms since the epoch.
    """

    model_config = ConfigDict(frozen=True)

    version: int = 0
    adapters: dict[str, Adapter] = Field(default_factory=dict)
    serving: Serving = Serving()
    consents: dict[str, int] = Field(default_factory=dict)

    def with_adapter(self, adapter: Adapter) -> ParameterState:
        return self.model_copy(update={"adapters": {**self.adapters, adapter.adapter_id: adapter}})

    def without(self, gone: Iterable[str], reason: str) -> ParameterState:
        """With these adapters revoked, and the pointer away from them."""
        ids = set(gone)
        found = {name: each.revoked(reason) if name in ids else each for name, each in self.adapters.items()}
        now = self.serving
        kept = [each for each in now.before if each not in ids]
        serving = now.model_copy(
            update={
                "active": "" if now.active in ids else now.active,
                "before": kept,
                "shadow": "" if now.shadow in ids else now.shadow,
                "names": {name: called for name, called in now.names.items() if name not in ids},
                "own": [each for each in now.own if each not in ids],
            }
        )
        return self.model_copy(update={"adapters": found, "serving": serving})

    def made_of(self, memory_ids: Set[str] | None, owner: str | None = None) -> list[str]:
        """The adapters that one of these memories (None: any), or one of this owner's, went into."""
        return [
            name
            for name, each in self.adapters.items()
            if each.state is not AdapterState.REVOKED
            and (
                (memory_ids is None and owner is None)
                or not (memory_ids or set()).isdisjoint(each.memories)
                or any(one.owner == owner for one in each.memories.values())
            )
        ]


def now() -> datetime:
    return datetime.now(UTC)
