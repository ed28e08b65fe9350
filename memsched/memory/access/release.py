"""The permission hook: what of a memory may leave, by who reads it and for what. All ways out lead through ``Release``.

``Cubes`` says who may read a cube at all. A hook of another package (MEMSCHED_PERMISSIONS) says more, memory by memory:
it lets the text through, puts another in its place (redaction), or vetoes the memory. One that fails has vetoed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

from memsched.extensions import extension
from memsched.logs import exception_field, get_logger
from memsched.memory.access.permissions import CubeRef
from memsched.messages import ScheduleLogForWebItem
from memsched.policy.block import Member

log = get_logger(__name__)

Purpose = Literal["search", "working_set", "prompt", "read", "themes", "explain", "activation", "export", "events"]
WITHHELD = "(withheld)"


@dataclass(frozen=True, slots=True)
class LeavingMemory:
    """What a hook is told of a memory.

    Args:
        owner: who owns its cube. mem_cube_id: the owner's name of that.
        memory_id: "" for an event's own words.
    """

    owner: str
    mem_cube_id: str
    memory_id: str
    text: str
    speaker: str = ""


class PermissionHook(Protocol):
    """Decides what of a memory may leave. It is called on the event loop, once per memory: it must not wait."""

    def release(self, reader: str, purpose: Purpose, memory: LeavingMemory) -> str | None:
        """The text that may leave, the memory's own or another; None: nothing of it.

        Args:
            reader: the user who asks; "" where nobody is named (the event log, which operators read).
        """


M = TypeVar("M", bound=Any)


class Release:
    """What stands between memories and whoever reads them. Without a hook all of it leaves as it is."""

    def __init__(self, hook: PermissionHook | None = None) -> None:
        self._hook = hook

    @classmethod
    def by(cls, name: str) -> Release:
        """With the hook that MEMSCHED_PERMISSIONS names. Raises SettingsError."""
        if not name:
            return cls()
        return cls(extension("MEMSCHED_PERMISSIONS", "memsched.permissions", name, ("release",), {}))

    def memories(self, reader: str, purpose: Purpose, ref: CubeRef, memories: Iterable[M]) -> list[M]:
        """Those of a cube's memories that may leave, each with the text that may (``Memory``, ``WorkingMemory``)."""
        if self._hook is None:
            return list(memories)
        released = []
        for each in memories:
            text = self._text(reader, purpose, _leaving(ref, each))
            if text is not None:
                changed = {"text": text}
                if text != each.text and "content_hash" in _fields_of(each):
                    changed["content_hash"] = ""  # who guesses the text could tell by it
                released.append(_with(each, **changed))
        texts = [each.text for each in released]
        return [
            _with(each, theme=_words_in(each.theme, texts)) if "theme" in _fields_of(each) else each
            for each in released
        ]

    def texts(self, reader: str, purpose: Purpose, ref: CubeRef, texts: Mapping[str, str]) -> dict[str, str]:
        """Those texts that may leave, by memory id, as they may."""
        if self._hook is None:
            return dict(texts)
        asked = {
            memory_id: self._text(reader, purpose, LeavingMemory(ref.user_id, ref.mem_cube_id, memory_id, text))
            for memory_id, text in texts.items()
        }
        return {memory_id: text for memory_id, text in asked.items() if text is not None}

    def members(self, reader: str, ref: CubeRef, members: Iterable[Member]) -> list[Member]:
        """Those members of an activation block that may leave, each with the text that may."""
        found = list(members)
        texts = self.texts(reader, "activation", ref, {each.memory_id: each.said for each in found})
        return [
            each if texts[each.memory_id] == each.said else Member.of(each.memory_id, texts[each.memory_id])
            for each in found
            if each.memory_id in texts
        ]

    def results(self, reader: str, purpose: Purpose, ref: CubeRef, results: Iterable[M]) -> list[M]:
        """The same for what a search found (``SearchResult``)."""
        found = list(results)
        if self._hook is None:
            return found
        kept = {each.memory_id: each for each in self.memories(reader, purpose, ref, [each.memory for each in found])}
        return [_with(each, memory=kept[each.memory.memory_id]) for each in found if each.memory.memory_id in kept]

    def themes(
        self, reader: str, purpose: Purpose, ref: CubeRef, themes: Iterable[M], memories: Mapping[str, Any]
    ) -> list[M]:
        """Themes with those of their members that may leave, and of their terms those that stand in such a text.

        Args:
            memories: the members, by id.
        """
        found = list(themes)
        if self._hook is None:
            return found
        released = []
        for each in found:
            texts = {
                memory_id: text
                for memory_id in each.memory_ids
                if memory_id in memories
                if (text := self._text(reader, purpose, _leaving(ref, memories[memory_id]))) is not None
            }
            if texts:
                changed: dict[str, Any] = {
                    "label": _words_in(each.label, texts.values()),
                    "memory_ids": [memory_id for memory_id in each.memory_ids if memory_id in texts],
                }
                if hasattr(each, "terms"):
                    changed["terms"] = [term for term in each.terms if _words_in(term, texts.values())]
                released.append(_with(each, **changed))
        return released

    def events(self, events: Iterable[ScheduleLogForWebItem]) -> list[ScheduleLogForWebItem]:
        """Events, whose words and quotations of memories a hook has seen."""
        if self._hook is None:
            return list(events)
        return [
            each.model_copy(
                update={
                    "log_content": self._said(each, "", each.log_content) or WITHHELD,
                    "metadata": self._details(each, each.metadata),
                }
            )
            for each in events
        ]

    def _details(self, event: ScheduleLogForWebItem, value: Any, memory_id: str = "") -> Any:
        if isinstance(value, str):
            return self._said(event, memory_id, value)
        if isinstance(value, list):
            return [each for each in (self._details(event, one, memory_id) for one in value) if each is not None]
        if isinstance(value, dict):
            memory_id = str(value.get("memory_id", memory_id))
            return {name: one if name in _IDS else self._details(event, one, memory_id) for name, one in value.items()}
        return value

    def _said(self, event: ScheduleLogForWebItem, memory_id: str, text: str) -> str | None:
        return self._text("", "events", LeavingMemory(event.user_id, event.mem_cube_id, memory_id, text))

    def _text(self, reader: str, purpose: Purpose, memory: LeavingMemory) -> str | None:
        assert self._hook is not None
        try:
            text = self._hook.release(reader, purpose, memory)
            if text is None or isinstance(text, str):
                return text
            raise TypeError(f"release returned a {type(text).__name__}, not a text or None")
        except Exception as error:  # noqa: BLE001 -- whatever it raises: what nobody allowed does not leave
            log.error(
                "the permission hook failed; the memory does not leave",
                action="permission.failed",
                user_id=reader,
                purpose=purpose,
                mem_cube_id=memory.mem_cube_id,
                memory_id=memory.memory_id,
                **exception_field(error),
            )
            return None


_IDS = frozenset({"memory_id", "replaced", "by", "theme_id"})
"""Names in an event's details whose values are ids."""


def _leaving(ref: CubeRef, memory: Any) -> LeavingMemory:
    return LeavingMemory(ref.user_id, ref.mem_cube_id, memory.memory_id, memory.text, memory.speaker)


def _fields_of(memory: Any) -> Iterable[str]:
    return getattr(type(memory), "model_fields", ())


def _with(value: M, **changed: Any) -> M:
    """A model, or a dataclass, with other values."""
    if hasattr(value, "model_copy"):
        return value.model_copy(update=changed)  # type: ignore[no-any-return]
    return replace(value, **changed)


def _words_in(label: str, texts: Iterable[str]) -> str:
    """Those of a label's terms that stand in one of the texts."""
    said = [text.casefold() for text in texts]
    return ", ".join(term for term in label.split(", ") if any(term.casefold() in text for text in said))
