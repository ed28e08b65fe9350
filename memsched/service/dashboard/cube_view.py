"""What the page of a cube shows, put together from what the scheduler says of it: nothing is decided or counted here.

Everything is read for the user who looks, through the same methods as the routes under ``/v1``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from memsched.lexicon import estimate_tokens
from memsched.memory.model import Memory
from memsched.memory_prompt import MemoryPrompt
from memsched.messages import (
    ACTIVATION_MEMORY_TYPE,
    LONG_TERM_MEMORY_TYPE,
    USER_MEMORY_TYPE,
    WORKING_MEMORY_TYPE,
    ScheduleLogForWebItem,
)
from memsched.policy.block import ActivationBlock
from memsched.tiers.explanation import Explanation, ThemeExplained
from memsched.tiers.moves import ARCHIVED, PINNED, PLAIN_TEXT
from memsched.tiers.set_changes import KINDS

COLORS = 8
"""Of themes and of parts, in memsched.css (``.c1`` to ``.c8``)."""
CHARTED = 6
"""Themes that a chart shows, those that were the hottest."""
PLACES: Mapping[str, str] = {
    ACTIVATION_MEMORY_TYPE: "block",
    WORKING_MEMORY_TYPE: "working set",
    LONG_TERM_MEMORY_TYPE: "long-term",
    USER_MEMORY_TYPE: "user memory",
    ARCHIVED: "archive",
    PINNED: "pinned",
    PLAIN_TEXT: "plain text",
    "UserInput": "said",
    "Deleted": "deleted",
}
"""Tiers, as people read them."""
SUFFICIENT: Mapping[str, str] = {
    "nothing_asked": "Nothing was asked.",
    "answers": "What is near answers it: a prompt needs no search.",
    "holds_the_best": "What is near holds the best of what is found.",
    "lacks_some": "What is near lacks some of the best that is found: the prompt has them too.",
    "nothing_fits": "Nothing that is remembered probably answers it.",
    "not_searched": "Nobody knows whether what is near answers it: nothing was searched.",
    "search_failed": "Nobody knows whether what is near answers it: the search got no answer.",
}
"""Why what is near suffices for a question, or not (memory_prompt.py), as people read it."""


@dataclass(frozen=True)
class ThemeMark:
    """What a theme is called, and its colour."""

    label: str
    color: int


@dataclass(frozen=True)
class Part:
    """A part of a score: where its bar begins, how long it is (of 100), and its colour."""

    name: str
    value: float
    begins: float
    length: float
    color: int


@dataclass(frozen=True)
class Card:
    """A memory in a tier.

    Args:
        score: None: it has none there.
        note: what else is to be said.
    """

    memory_id: str
    text: str
    at: datetime | None
    theme: ThemeMark | None
    pinned: bool
    score: float | None = None
    parts: Sequence[Part] = ()
    note: str = ""
    archived_because: str = ""


@dataclass(frozen=True)
class Movement:
    """Something that happened: from where, to where, what, and why."""

    at: datetime
    source: str
    target: str
    text: str
    reason: str
    memory_id: str = ""
    score: float | None = None


@dataclass(frozen=True)
class CubeLook:
    """A cube at one moment, as its page shows it."""

    explained: Explanation
    chart: dict[str, Any] | None
    says: str
    marks: Mapping[str, ThemeMark]
    block: Sequence[Card]
    near: Sequence[Card]
    warm: Sequence[Card]
    archived: Sequence[Card]
    movements: Sequence[Movement]
    legend: Sequence[tuple[str, int]] = field(default_factory=tuple)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever remembered there, or all of it was deleted."""
        return self.explained.at is None


def look_of(
    explained: Explanation,
    warm: Iterable[Memory],
    archived: Iterable[Memory],
    events: Sequence[ScheduleLogForWebItem],
) -> CubeLook:
    """A cube's page.

    Args:
        warm: its latest memories.
        events: oldest first.
    """
    marks = _marks(explained.themes)
    of_memory = {each: marks[theme.theme_id] for theme in explained.themes for each in theme.memory_ids}
    texts = {each.memory_id: each.indexed_text for each in (*warm, *archived)} | explained.texts
    names = list(dict.fromkeys(name for each in explained.working_set for name in each.parts))
    best = max((each.score for each in explained.working_set), default=0.0)
    near = {
        each.memory_id: Card(
            each.memory_id,
            each.said,
            each.at,
            of_memory.get(each.memory_id),
            each.memory_id in explained.pins,
            each.score,
            parts_of(each.parts, names, best),
            ", ".join(source for source in each.sources if source not in ("value", "pinned")),
        )
        for each in explained.working_set
    }
    known = {each.memory_id: _card(each, of_memory, explained.pins) for each in (*warm, *archived)}

    def in_block(memory_id: str) -> Card:
        if memory_id in near or memory_id in known:
            return near.get(memory_id) or known[memory_id]
        return Card(memory_id, texts.get(memory_id, ""), None, of_memory.get(memory_id), memory_id in explained.pins)

    elsewhere = {*near, *explained.block}
    chart, says = theme_chart(explained, marks)
    return CubeLook(
        explained,
        chart,
        says,
        marks,
        [in_block(each) for each in explained.block],
        list(near.values()),
        [known[each.memory_id] for each in warm if each.memory_id not in elsewhere],
        [known[each.memory_id] for each in archived],
        list(movements_of(events, texts)),
        [(name, _color(at)) for at, name in enumerate(names)],
    )


def _card(memory: Memory, marks: Mapping[str, ThemeMark], pins: Sequence[str]) -> Card:
    uses = f"used {memory.use_count} times" if memory.use_count > 1 else "used once" if memory.use_count else ""
    return Card(
        memory.memory_id,
        memory.indexed_text,
        memory.at,
        marks.get(memory.memory_id),
        memory.memory_id in pins,
        note=f"archived: {memory.archived_because}" if memory.archived_because else uses,
        archived_because=memory.archived_because,
    )


def _color(at: int) -> int:
    return at % COLORS + 1


def _marks(themes: Sequence[ThemeExplained]) -> dict[str, ThemeMark]:
    """A theme keeps its colour while it rises and sinks: colours go by when themes began."""

    def began(theme: ThemeExplained) -> tuple[int, str]:
        return next((at for at, heat in enumerate(theme.heats) if heat), len(theme.heats)), theme.theme_id

    return {
        each.theme_id: ThemeMark(each.label or "(withheld)", _color(at))
        for at, each in enumerate(sorted(themes, key=began))
    }


def theme_chart(explained: Explanation, marks: Mapping[str, ThemeMark]) -> tuple[dict[str, Any] | None, str]:
    """How hot the themes were, for a chart; and what it shows, in words. None without a theme."""
    hottest = sorted(explained.themes, key=lambda each: -max(each.heats, default=0.0))[:CHARTED]
    if not hottest or not explained.moments:
        return None, ""
    series = [
        {
            "label": marks[each.theme_id].label,
            "values": each.heats,
            "color": marks[each.theme_id].color,
            "fill": each.state == "activated",
        }
        for each in hottest
    ]
    said = [
        f"{marks[each.theme_id].label}: {each.heat:.1f} now, {max(each.heats):.1f} at its hottest" for each in hottest
    ]
    return {"x": [each.timestamp() for each in explained.moments], "series": series}, "; ".join(said)


def parts_of(parts: Mapping[str, float], names: Sequence[str], best: float) -> list[Part]:
    """The bars of a score's parts, one after another.

    Args:
        names: of all parts, for their colours.
        best: the score whose bar is 100 long.
    """
    found, begins = [], 0.0
    for name, value in parts.items():
        length = max(0.0, 100 * value / best) if best > 0 else 0.0
        color = _color(names.index(name)) if name in names else COLORS
        found.append(Part(name, value, round(begins, 2), round(min(length, 100 - begins), 2), color))
        begins = min(100.0, begins + length)
    return found


# -- movements ---------------------------------------------------------------------------------------------------------


def movements_of(events: Sequence[ScheduleLogForWebItem], texts: Mapping[str, str]) -> Iterable[Movement]:
    """What happened, the latest first.

    Args:
        texts: what memories say, by id, where the event does not tell.
    """
    for event in reversed(events):
        yield from _movements_in(event, texts)


def _movements_in(event: ScheduleLogForWebItem, texts: Mapping[str, str]) -> Iterable[Movement]:
    told = event.metadata
    moved = isinstance(told, dict) and told.get("subject") in ("memory", "theme")
    changes = list(_changes(told))
    if isinstance(told, dict) and moved:
        memory_id = str(told.get("subject_id") or "") if told["subject"] == "memory" else ""
        what = texts.get(memory_id, "") if memory_id else f"Theme: {told.get('label') or '(withheld)'}"
        yield _movement(event, event.from_memory_type, event.to_memory_type, what, told.get("reason"), memory_id)
    elif not changes and not (isinstance(told, dict) and "came_in" in told):  # a set in another order: nothing moved
        memory_id = str(told.get("memory_id") or "") if isinstance(told, dict) else ""
        if isinstance(told, list) and len(told) == 1 and isinstance(told[0], dict):
            memory_id = str(told[0].get("memory_id") or "")
        yield _movement(event, event.from_memory_type, event.to_memory_type, event.log_content, "", memory_id)
    for each in changes:
        memory_id = str(each.get("memory_id") or "")
        what = str(each.get("text") or texts.get(memory_id, ""))
        score = each.get("score")
        yield _movement(event, str(each.get("from")), str(each.get("to")), what, each.get("reason"), memory_id, score)


def _changes(told: Any) -> Iterable[dict[str, Any]]:
    """Of the working set and the block."""
    if isinstance(told, dict):
        within = told.get("working_set")
        for where in (told, within if isinstance(within, dict) else {}):
            for name in KINDS:
                changes = where.get(name)
                yield from (each for each in changes if isinstance(each, dict)) if isinstance(changes, list) else ()


def _movement(
    event: ScheduleLogForWebItem, source: str, target: str, text: str, reason: Any, memory_id: str, score: Any = None
) -> Movement:
    return Movement(
        event.timestamp,
        PLACES.get(source, source),
        PLACES.get(target, target),
        text,
        str(reason or ""),
        memory_id,
        score if isinstance(score, float) else None,
    )


# -- the prompt --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PromptPart:
    """A part of a prompt, and how many tokens it has, estimated."""

    name: str
    text: str
    tokens: int
    color: int


@dataclass(frozen=True)
class PromptLook:
    """A prompt as it would be sent.

    Args:
        kept: tokens of its head that are the same as with the block before this one.
        came, left: what the block has that the one before had not, and the other way round: ids.
    """

    parts: Sequence[PromptPart]
    kept: int
    came: Sequence[str]
    left: Sequence[str]
    sufficient: str

    @property
    def tokens(self) -> int:
        """Of all of it."""
        return sum(each.tokens for each in self.parts)

    @property
    def share(self) -> float:
        """The part of it that a server finds which has the prompt with the block before, 0 to 1."""
        return self.kept / self.tokens if self.tokens else 0.0


def prompt_look(prompt: MemoryPrompt, query: str, before: Sequence[str]) -> PromptLook:
    """A prompt, part by part.

    Args:
        before: ids of the block before; [] for none.
    """
    block, head = prompt.activation, prompt.head
    instructions = head.removesuffix(block.text)
    found = {each.id for each in prompt.found}
    first = "\n".join(text for each, text in prompt.told.items() if each in found)
    rest = prompt.text.removeprefix(head)
    named = f"Found for the question, and near ({len(found & {*prompt.told})} found)" if first else "Near, and the day"
    texts = (
        ("Salt and instructions", instructions),
        ("Activation block", block.text),
        (named, rest),
        ("The question", query),
    )
    parts = [PromptPart(name, text, estimate_tokens(text), _color(at)) for at, (name, text) in enumerate(texts) if text]
    return PromptLook(
        parts,
        estimate_tokens(instructions + _same_beginning(block, before)) if before else 0,
        [each for each in block.memory_ids if each not in before],
        [each for each in before if each not in block.memory_ids],
        SUFFICIENT[prompt.sufficient.reason],
    )


def _same_beginning(block: ActivationBlock, before: Sequence[str]) -> str:
    """How far the block's text is that of the block before: it has a line of each memory, in its order."""
    same = 0
    for one, other in zip(block.memory_ids, before, strict=False):
        if one != other:
            break
        same += 1
    lines = block.text.splitlines(keepends=True)
    header = len(lines) - len(block.memory_ids) - 1
    return "".join(lines[: header + same])
