"""An explanation of what stands where in a cube, and why, as callers see it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from memsched.messages import UtcTime
from memsched.tiers.activation_status import ActivationStatus
from memsched.tiers.hot_state import WorkingMemory
from memsched.tiers.moves import Move


class FeaturePart(BaseModel):
    """A feature of a memory, and what it gives to its score under each mode: feature times weight."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: float
    by_mode: dict[str, float]


class ThemeExplained(BaseModel):
    """A theme, and why it is where it is.

    Attributes:
        heat: in memories.
        share: of the hottest theme's heat.
        since: when it was activated, or given up; None: it never was.
        reason: of its last move, "" without one.
        memory_ids: oldest first.
        heats: how hot it was at each of the explanation's ``moments``.
    """

    model_config = ConfigDict(frozen=True)

    theme_id: str
    label: str
    state: str
    heat: float
    share: float
    since: UtcTime | None = None
    reason: str = ""
    memory_ids: list[str] = Field(default_factory=list)
    heats: list[float] = Field(default_factory=list)


class MemoryExplained(BaseModel):
    """A memory, where it is, and why.

    Attributes:
        tier: ``WorkingMemory``, ``LongTermMemory``, ``UserMemory`` or ``Archived``.
        archived_because: ``cold``, ``capacity``, ``asked`` or ``merged``; "" for what is not archived.
        activated: whether it is of an activated theme too.
        place: among the memories that may be near, 1 for the most valuable; None for those that may not.
        value: how probable it is that the next answer uses it.
        by_mode: what each mode gives to the value: its share times its probability.
        features: what the modes' probabilities come from.
        uses, last_used: how often answers repeated it, and when last.
        credited: times of the log's answers that it is credited with.
        theme: None: it is of no theme.
        moves: its last ones, and its theme's, oldest first.
        outlook: what would make it move, in words with the figures.
    """

    model_config = ConfigDict(frozen=True)

    memory_id: str
    text: str
    tier: str
    archived_because: str = ""
    activated: bool
    pinned: bool
    place: int | None
    value: float
    by_mode: dict[str, float]
    features: list[FeaturePart]
    uses: int
    last_used: UtcTime | None
    credited: list[UtcTime]
    theme: ThemeExplained | None
    moves: list[Move]
    outlook: str


class Explanation(BaseModel):
    """A cube, and one of its memories if one was asked for, at the time of its latest message.

    Attributes:
        at: that time; None for a cube without memories.
        shares: of the modes in the mixture.
        sizes: memories by tier: ``working``, ``activated`` (of an activated theme), ``near`` (neither archived nor
            corrected: those that may be near), ``archived``, ``pinned``.
        capacities: of ``working`` and ``pinned``, by the settings of the process that explains.
        working_set: best first, with their ``sources``.
        texts: by id, what the memories say that are in the set or the block, pinned or moved.
        moves: the last ones between tiers, oldest first.
        activation: what the model's server has of the cube's prompts.
        block: ids of the activation block's memories, in its order.
        block_before: of the block before this one, as far as they are still there.
        moments: at which ``themes`` tell their heat, up to ``at``.
    """

    model_config = ConfigDict(frozen=True)

    at: UtcTime | None
    shares: dict[str, float]
    sizes: dict[str, int]
    capacities: dict[str, int]
    themes: list[ThemeExplained]
    pins: list[str]
    moves: list[Move]
    working_set: list[WorkingMemory] = Field(default_factory=list)
    texts: dict[str, str] = Field(default_factory=dict)
    memory: MemoryExplained | None = None
    activation: ActivationStatus = ActivationStatus()
    block: list[str] = Field(default_factory=list)
    block_before: list[str] = Field(default_factory=list)
    moments: list[UtcTime] = Field(default_factory=list)
