"""The permission hook: what of a memory may leave, by who reads it and for what. All ways out lead through ``Release``.

``Cubes`` says who may read a cube at all. A hook (an access policy, or one of another package: hook.py) says more,
memory by memory: it lets the text through, puts another in its place (redaction), or vetoes the memory. One that fails
has vetoed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar

from memsched.logs import exception_field, get_logger
from memsched.memory.access.permissions import CubeRef
from memsched.memory.access.trail import touched
from memsched.memory.metadata import MetadataValue
from memsched.memory.model import Memory, is_memory_id, with_caption
from memsched.messages import ScheduleLogForWebItem

log = get_logger(__name__)

Purpose = Literal["search", "working_set", "prompt", "read", "themes", "explain", "activation", "export", "events"]
CubeMemories = tuple[CubeRef, Mapping[str, Memory]]
WITHHELD = "(withheld)"


@dataclass(frozen=True, slots=True)
class LeavingMemory:
    """What a hook is told of a memory: the same on every way out.

    Args:
        owner: who owns its cube. mem_cube_id: the owner's name of that.
        memory_id: "" for an event's own words, of which nothing else is known but the text.
        text: without the speaker; what is seen on a picture stands behind it: "Look! [picture: a dog]".
        added_by: who sent it to the cube; "" where nobody wrote that down.
        metadata: what was given with it. Each name and value in it leaves only as the hook lets it: it is asked about
            it as about a memory's text, of a number or a truth as JSON writes it; what it puts in its place leaves.
        about: of an event's own words, the ids of the memories that it names; ``tags`` are theirs.
        cube_tags: what the cube's owner says that it is; None where nobody may read the cube any more.
    """

    owner: str
    mem_cube_id: str
    memory_id: str
    text: str
    speaker: str = ""
    kind: str = ""
    memory_type: str = ""
    at: datetime | None = None
    session_id: str = ""
    tags: tuple[str, ...] = ()
    added_by: str = ""
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    cube_tags: tuple[str, ...] | None = None
    about: tuple[str, ...] = ()


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

    @property
    def asks(self) -> bool:
        """Whether there is a hook to be asked: then it needs the memories whole."""
        return self._hook is not None

    def passed_on(self, tags: Iterable[str]) -> list[str]:
        """Which of the tags of what somebody was told have to be on what they make of it: those that an access policy
        decides by. Else an answer would tell everybody what its sources tell to some.
        """
        decides_by = getattr(self._hook, "decides_by", None)
        return [] if decides_by is None else [tag for tag in dict.fromkeys(tags) if decides_by(tag)]

    def memories(
        self,
        reader: str,
        purpose: Purpose,
        ref: CubeRef,
        memories: Iterable[M],
        whole: Mapping[str, Any] | None = None,
    ) -> list[M]:
        """Those of a cube's memories that may leave, each with the text that may (``Memory``, ``WorkingMemory``).

        Args:
            whole: by id, the memories as the store has them, where ``memories`` have not all of it. What is not there
                does not leave.
        """
        found = list(memories)
        if self._hook is None:
            touched(each.memory_id for each in found)
            return found
        released = []
        for each in found:
            known = each if whole is None else whole.get(each.memory_id)
            text = None if known is None else self._text(reader, purpose, _leaving(ref, known))
            if text is None or known is None:
                continue
            changed: dict[str, Any] = {}
            if "metadata" in _fields_of(each):
                changed["metadata"] = self._metadata(reader, purpose, _leaving(ref, known))
            if text == _told(known):
                released.append(_with(each, text=known.text, caption=known.caption, **changed))
                continue
            changed |= {"text": text, "caption": ""}
            if "content_hash" in _fields_of(each):
                changed["content_hash"] = ""  # who guesses the text could tell by it
            released.append(_with(each, **changed))
        touched(each.memory_id for each in released)
        texts = [each.text for each in released]
        return [
            _with(each, theme=_words_in(each.theme, texts)) if "theme" in _fields_of(each) else each
            for each in released
        ]

    def members(self, reader: str, ref: CubeRef, members: Iterable[M], whole: Mapping[str, Memory]) -> list[M]:
        """Those members of an activation block that may leave, each with the text that may.

        Args:
            whole: as ``memories`` has it.
        """
        found = list(members)
        if self._hook is None:
            touched(each.memory_id for each in found)
            return found
        known = [whole[each.memory_id] for each in found if each.memory_id in whole]
        released = {each.memory_id: each for each in self.memories(reader, "activation", ref, known)}
        return [
            each
            if released[each.memory_id].indexed_text == whole[each.memory_id].indexed_text
            else each.of(each.memory_id, released[each.memory_id].indexed_text, whole[each.memory_id].local_at)
            for each in found
            if each.memory_id in released
        ]

    def results(self, reader: str, purpose: Purpose, ref: CubeRef, results: Iterable[M]) -> list[M]:
        """The same for what a search found (``SearchResult``)."""
        found = list(results)
        if self._hook is None:
            touched(each.id for each in found)
            return found
        kept = {each.memory_id: each for each in self.memories(reader, purpose, ref, [each.item for each in found])}
        return [_with(each, item=kept[each.id]) for each in found if each.id in kept]

    def themes(
        self, reader: str, purpose: Purpose, ref: CubeRef, themes: Iterable[M], memories: Mapping[str, Any]
    ) -> list[M]:
        """Themes with those of their members that may leave, and of their terms those that stand in such a text.

        Each is named by the first of these members.

        Args:
            memories: the members, by id.
        """
        found = list(themes)
        if self._hook is None:
            return found
        released = []
        names: dict[str, str] = {}
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
                names[each.theme_id] = changed["theme_id"] = next(iter(texts))
                if hasattr(each, "terms"):
                    changed["terms"] = [term for term in each.terms if _words_in(term, texts.values())]
                released.append(_with(each, **changed))
        return [
            _with(each, then={names[other]: count for other, count in each.then.items() if other in names})
            if hasattr(each, "then")
            else each
            for each in released
        ]

    def events(
        self,
        events: Iterable[ScheduleLogForWebItem],
        cubes: Mapping[tuple[str, str], CubeMemories],
        reader: str = "",
    ) -> list[ScheduleLogForWebItem]:
        """Events, as far as they may leave. They were written before anybody knew who reads them: so they are asked
        about when they are read.

        What an event says in its own words quotes what it is about: it leaves if all these memories do, as they are.
        What a theme is called is words of any of its memories: it does not leave.

        Args:
            cubes: by event's user and cube, the memories that are named there (``named_in``). What is not there any
                more does not leave.
            reader: who asks; "": an operator.
        """
        if self._hook is None:
            return list(events)
        return [self._event(each, cubes.get((each.user_id, each.mem_cube_id)), reader) for each in events]

    def _event(self, event: ScheduleLogForWebItem, cube: CubeMemories | None, reader: str) -> ScheduleLogForWebItem:
        owner, memories = cube or (CubeRef(event.user_id, event.mem_cube_id), {})
        named = sorted(named_in(event))
        known = [each for each in named if each in memories]
        asked = {each: self._text(reader, "events", _leaving(owner, memories[each])) for each in known}
        leaves = all(each in asked and asked[each] == _told(memories[each]) for each in named)
        tags = tuple(dict.fromkeys(tag for each in known for tag in memories[each].tags))
        own = LeavingMemory(
            owner.user_id, owner.mem_cube_id, "", "", tags=tags, cube_tags=owner.tags, about=tuple(named)
        )

        def words(text: str) -> str | None:
            return self._text(reader, "events", replace(own, text=text))

        def details(value: Any, about: str = "") -> Any:
            if isinstance(value, str):
                return words(value) if not about or asked.get(about) is not None else None
            if isinstance(value, list):
                return [each for each in (details(one, about) for one in value) if each is not None]
            if not isinstance(value, dict):
                return value
            about = str(value.get("memory_id") or value.get("subject_id") or about)
            kept = {name: one if name in _IDS else details(one, about) for name, one in value.items()}
            text = asked.get(about)
            if "text" in kept and text is not None and text != _told(memories[about]):
                kept["text"] = text
            return kept if value.get("subject") != "theme" else {**kept, "label": None}

        of_theme = isinstance(event.metadata, dict) and event.metadata.get("subject") == "theme"
        said = words(event.log_content) if leaves and not of_theme else None
        return event.model_copy(update={"log_content": said or WITHHELD, "metadata": details(event.metadata)})

    def _metadata(self, reader: str, purpose: Purpose, memory: LeavingMemory) -> dict[str, MetadataValue]:
        """Those of its values that may leave, as they may; none under a name that may not leave."""

        def leaving(value: Any) -> Any:
            told = value if isinstance(value, str) else json.dumps(value)
            text = self._text(reader, purpose, replace(memory, text=told))
            return value if text == told else text

        found: dict[str, MetadataValue] = {}
        for name, value in memory.metadata.items():
            if leaving(name) != name:
                continue
            if isinstance(value, list):
                found[name] = [each for each in map(leaving, value) if each is not None]
            elif (left := leaving(value)) is not None:
                found[name] = left
        return found

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


_IDS = frozenset({"memory_id", "memory_ids", "subject_id", "replaced", "by", "kept", "theme_id", "subject", "formerly"})
"""Names in an event's details whose values are ids, or the word for what an id is of."""


def named_in(event: ScheduleLogForWebItem) -> set[str]:
    """The ids of the memories that an event is about."""

    def ids(value: Any) -> Iterator[str]:
        if isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                yield from ids(each)
        elif is_memory_id(value):
            yield value

    return set(ids(event.metadata))


def _leaving(ref: CubeRef, memory: Any) -> LeavingMemory:
    """What a hook is told of a ``Memory``, or of one as a policy sees it."""
    return LeavingMemory(
        ref.user_id,
        ref.mem_cube_id,
        memory.memory_id,
        _told(memory),
        memory.speaker,
        memory.kind,
        memory.memory_type,
        memory.at,
        memory.session_id,
        tuple(memory.tags),
        memory.added_by,
        memory.metadata,
        ref.tags,
    )


def _told(memory: Any) -> str:
    """Its text for a hook: with the caption, so that whoever looks at the text has looked at all of it."""
    return with_caption(memory.text, memory.caption)


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
