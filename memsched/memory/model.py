"""A memory, as users see it and as the store keeps it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self
from unicodedata import normalize
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memsched.broker.keys import escape
from memsched.errors import UnknownMemory
from memsched.llm.event_dates import says_when
from memsched.memory.access.permissions import CubeRef
from memsched.memory.metadata import MetadataValue, keywords_of
from memsched.messages import LONG_TERM_MEMORY_TYPE, MOST_OFFSET, UtcTime, in_zone

MemoryKind = Literal["turn", "fact", "preference", "event"]
MemoryStatus = Literal["activated", "archived"]
ArchivedBecause = Literal["", "cold", "capacity", "asked"]

Undone = tuple[str, int, int]
"""A correction that somebody undid: why it held, since when, and when it was undone, ms since the epoch."""

SCHEMA_VERSION = 2
_LONGEST_ASKED = 300
_LONGEST_LINE = 80
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_NAMESPACE = UUID("6b0f86c4-6f0b-4f5e-8f0c-6f6c1f0b7d52")


class Memory(BaseModel):
    """One thing remembered in a cube. Memories are never changed in place: a correction is a new one.

    Attributes:
        user_id, mem_cube_id: the cube's owner and the owner's name of it.
        text: as it was said (kind ``turn``), or the statement that was taken from it.
        caption: what is seen on a picture that came with it.
        utc_offset: the speaker's zone when it was said, in minutes, or 0: a day that they name is one there.
        turn: place within its session, counted from 0.
        part: place within a turn that was long and split.
        sources: where it comes from: ``<item_id>#<position>``, the first as ``id_within`` has it, and the producer's
            own id of that turn, or "". More than one when the same was said again.
        said_again: when the same was said again, ms since the epoch, by the id that it would have had.
        asked_again: of a question, the same by the name of the place where it stood then (``place_name``).
        trigrams: names of the rows of three turns that it stood in, each with 1 if it told its time there, else 0: by
            them it is known when its history is told again (ingest/retelling.py).
        last_said: when it was said again last, on its own and not in a history that was sent once more.
        importance: value of the content itself, 0 to 1.
        value: what its text and its place in the session say of whether it will be asked for: log odds above the
            least that there are (``text_value``).
        archived_because: nothing needed it for long, there were too many, or somebody asked; "" for what is not
            archived, and for what was merged into another.
        restored_at: when it came back from the archive last, in message time.
        ingested_at: when it was told to the cube (ingestion time), as its message has it, if it was said before (event
            time): what is brought in from elsewhere. None: when it was said.
        replaces, superseded_by: ids of the memories that it corrects, and of the one that corrects it.
        correctors: ids of all that correct it, as far as is known, of which ``superseded_by`` is one.
        superseded_because: why that one does.
        may_revise, may_be_revised_by: by id of an earlier or a later memory, why the later one may be what holds now.
            Nothing is hidden by it.
        undone: corrections of it that somebody undid, by the id of what had corrected it.
        undone_for: ids of the memories that it corrected until somebody undid that.
        confirmed_at: when the last thing was said before somebody said that it holds after all: nothing of that time
            or before corrects it.
        valid_until: when it ceased to hold: when what supersedes it was said.
        event_date: when it happened or will happen, as far as is known: YYYY, YYYY-MM or YYYY-MM-DD; or "".
        derived_from: ids of the turns that a statement was taken from; with them it stands and falls.
        said_by: the speaker of those turns, of a statement whose ``speaker`` is nobody.
        by_user: whether the user who sent it said it, of themselves or of others: under each name, and without one,
            it is the same speaker. Memories of before there was this say nothing of it.
        answers: id of the turn right before, by somebody else, that asked what a short answer answers; "" for others.
        content_hash: equal for memories that say the same in other spelling (ingest/deduplication.py).
        metadata: what whoever added it gave with it; a search may ask for it (``filter``).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    memory_id: str
    user_id: str
    mem_cube_id: str
    text: str
    caption: str = ""
    memory_type: str = LONG_TERM_MEMORY_TYPE
    kind: MemoryKind = "turn"
    speaker: str = ""
    session_id: str = ""
    turn: int = 0
    part: int = 0
    at: UtcTime
    utc_offset: int = Field(default=0, ge=-MOST_OFFSET, le=MOST_OFFSET)
    created_at: UtcTime
    updated_at: UtcTime
    sources: dict[str, str] = Field(default_factory=dict)
    said_again: dict[str, int] = Field(default_factory=dict)
    asked_again: dict[str, int] = Field(default_factory=dict)
    trigrams: dict[str, int] = Field(default_factory=dict)
    last_said: UtcTime | None = None
    importance: float = 0.0
    value: float = 0.0
    use_count: int = 0
    last_used_at: UtcTime | None = None
    status: MemoryStatus = "activated"
    archived_because: ArchivedBecause = ""
    restored_at: UtcTime | None = None
    ingested_at: UtcTime | None = None
    version: int = 1
    replaces: list[str] = Field(default_factory=list)
    superseded_by: str | None = None
    superseded_because: str = ""
    correctors: list[str] = Field(default_factory=list)
    may_revise: dict[str, str] = Field(default_factory=dict)
    may_be_revised_by: dict[str, str] = Field(default_factory=dict)
    undone: dict[str, Undone] = Field(default_factory=dict)
    undone_for: list[str] = Field(default_factory=list)
    confirmed_at: UtcTime | None = None
    valid_until: UtcTime | None = None
    derived_from: list[str] = Field(default_factory=list)
    said_by: str = ""
    by_user: bool = False
    event_date: str = Field(default="", pattern=r"^(\d{4}(-\d{2}(-\d{2})?)?)?$")
    answers: str = ""
    content_hash: str = ""
    tags: list[str] = Field(default_factory=list)
    added_by: str = ""
    metadata: dict[str, MetadataValue] = Field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({short_line(self.text)!r}, at={self.at:%Y-%m-%d}, id={self.memory_id!r})"

    @property
    def id(self) -> str:
        return self.memory_id

    @property
    def memory(self) -> str:
        """The text, by the name that a search result has for it."""
        return self.text

    @property
    def ref(self) -> CubeRef:
        return CubeRef(self.user_id, self.mem_cube_id)

    @property
    def local_at(self) -> datetime:
        """When it was said, by the speaker's own clock."""
        return in_zone(self.at, self.utc_offset)

    @property
    def valid_from(self) -> datetime:
        """Since when it holds: since it was said."""
        return self.at

    def is_voice_of(self, other: Memory) -> bool:
        """Whether the words of both are one person's: only they can correct them.

        A user is one person, under each name that they give themselves and without one.
        """
        if (self.added_by or self.user_id) != (other.added_by or other.user_id):
            return False  # two who tell it may call themselves, or know, the same name
        mine, theirs = (as_called(each.speaker or each.said_by) for each in (self, other))
        return mine == theirs or ((self.by_user or not mine) and (other.by_user or not theirs))

    @property
    def order(self) -> tuple[int, int, int]:
        """Its place in what was said: by the time as it is stored, in ms."""
        return to_ms(self.at), self.turn, self.part

    @property
    def told(self) -> datetime:
        """When it was said last."""
        return self.at if self.last_said is None else max(self.at, self.last_said)

    @property
    def last_order(self) -> tuple[int, int, int]:
        """``order``, by when it was said last. What a message says again comes before what is new in it: what revises
        that in the same message is new, too.
        """
        last = to_ms(self.told)
        return self.order if last == to_ms(self.at) else (last, -1, 0)

    @property
    def looked_up(self) -> dict[str, Any]:
        """What only the store's payload has, for filters."""
        found: dict[str, Any] = {"speaker_folded": folded(self.speaker)} if self.speaker else {}
        if self.by_user and not self.derived_from:
            found["user_speaking"] = self.added_by or self.user_id
        return found | ({"metadata_keywords": keywords_of(self.metadata)} if self.metadata else {})

    @property
    def indexed_text(self) -> str:
        """What is embedded: who said it is part of what can be asked for."""
        told = with_caption(self.text, self.caption)
        return f"{self.speaker}: {told}" if self.speaker else told

    @property
    def searched_text(self) -> str:
        """Whose words it is found by: what was said, and what is seen on the picture."""
        return f"{self.text} {self.caption}" if self.caption else self.text

    def to_payload(self) -> dict[str, Any]:
        """The point's payload: times are ms since the epoch, what is empty is left out."""
        values = self.model_dump(exclude={"memory_id"}, exclude_defaults=True)
        for name in TIMES:
            if isinstance(moment := values.get(name), datetime):
                values[name] = to_ms(moment)
        # Always there: filters look at them.
        values |= {"status": self.status, "memory_type": self.memory_type, "kind": self.kind}
        values |= {"session_id": self.session_id, "turn": self.turn, "schema": SCHEMA_VERSION}
        return values | self.looked_up

    @classmethod
    def from_payload(cls, memory_id: str, payload: dict[str, Any]) -> Self:
        """The memory in a point that this or an earlier schema version wrote."""
        values = dict(payload)
        values["memory_id"] = memory_id
        for name in TIMES:
            if (ms := values.get(name)) is not None:
                values[name] = from_ms(ms)
        return cls.model_validate(values)

    @classmethod
    def as_stored(cls, memory_id: str, payload: dict[str, Any]) -> Self:
        """The memory in a point's ``readable`` payload: what else of it cannot be read counts as not there."""
        try:
            return cls.from_payload(memory_id, payload)
        except ValidationError as error:
            unreadable = {each["loc"][0] for each in error.errors()}
            return cls.from_payload(memory_id, {name: payload[name] for name in payload if name not in unreadable})


TIMES = (
    *("at", "created_at", "updated_at", "last_said"),
    *("last_used_at", "restored_at", "ingested_at", "confirmed_at", "valid_until"),
)
_WHOLE = (*TIMES, "turn", "part", "utc_offset")
_ALWAYS = ("at", "created_at", "updated_at")
_TEXTS = ("text", "user_id", "mem_cube_id")
NEEDED = (*_TEXTS, *_ALWAYS)
"""The fields by which ``readable`` tells whether a payload is a memory's."""
_EARLIEST_MS, _LATEST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The first and the last moment of a datetime."""


def readable(payload: dict[str, Any]) -> dict[str, Any] | None:
    """A point's payload without numbers and times that are none; None if it is no memory then.

    What one message, or an older version, wrote there must not make the whole cube unreadable.
    """
    if not all(isinstance(payload.get(name), str) for name in _TEXTS):
        return None
    numbers = {name: payload[name] for name in _WHOLE if name in payload}
    read = {name: each for name, each in numbers.items() if type(each) is int and _EARLIEST_MS <= each <= _LATEST_MS}
    if read.get("restored_at", 0) > read.get("updated_at", 0):
        del read["restored_at"]  # later than it was written: no clock said so
    known = next((read[name] for name in _ALWAYS if name in read), None)
    if known is None:
        return None
    if len(read) == len(numbers) and all(name in read for name in _ALWAYS):
        return payload
    others = {name: value for name, value in payload.items() if name not in numbers}
    return {**dict.fromkeys(_ALWAYS, known), **read, **others}


def is_memory_id(text: Any) -> bool:
    """Whether it can be the id of a memory at all."""
    try:
        return bool(str(UUID(text)) == text)
    except (ValueError, TypeError, AttributeError):
        return False


def expect_memory_id(given: Any, others: Iterable[Any], place: str) -> None:
    """Raises UnknownMemory where another argument has the id of a memory, and the one that should has none.

    Args:
        place: where it belongs.
    """
    if not is_memory_id(given) and any(map(is_memory_id, others)):
        raise UnknownMemory(given, advice=f"The memory's id comes {place}.")


def with_caption(text: str, caption: str) -> str:
    """A text as it is read, with what is seen on the picture that came with it."""
    return f"{text} [picture: {caption}]".lstrip() if caption else text


def with_question(said: str, asked: str) -> str:
    """A short answer as it is read, with the question that it answers."""
    return f"(asked: {' '.join(asked.split())[-_LONGEST_ASKED:]}) {said}" if asked else said


def folded(name: str) -> str:
    """A name, whichever case it is written in."""
    return normalize("NFC", normalize("NFC", name).casefold())


def short_line(text: str) -> str:
    """A text as one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}\u2026"


def as_called(name: str) -> str:
    """A speaker's name as it is compared: people write it with capitals or without."""
    return unicodedata.normalize("NFC", name).casefold()


def with_day(said: str, at: datetime) -> str:
    """With the day on which it was said, where its words say when: "tomorrow" is the day after."""
    return f"{at:%Y-%m-%d} {said}" if says_when(said) else said


def to_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def event_ms(event_date: Any) -> int | None:
    """A moment of an event date, ms since the epoch; None of what is none, or of a year alone."""
    parts = str(event_date or "").split("-")
    try:
        year, month, day = map(int, [*parts, "15"][:3])
        return to_ms(datetime(year, month, day, 12, tzinfo=UTC))
    except ValueError:
        return None


def clamped(moment: datetime) -> datetime:
    """A moment that somebody else's clock tells, but never later than now: what is said has been said."""
    return min(moment, datetime.now(moment.tzinfo or UTC))


def from_ms(ms: int) -> datetime:
    """The moment; what lies before the year 1, or after 9999, is the first or the last there is."""
    return _EPOCH + timedelta(milliseconds=min(max(ms, to_ms(_FIRST)), to_ms(_LAST)))


def id_within(ref: CubeRef, user_id: str, item_id: str) -> str:
    """What a message is called within a cube that several users may write to, for ids are the user's own.

    An owner's message keeps its id; another user's has their name before it. No two users' messages share one.
    """
    if user_id == ref.user_id and "/" not in item_id:
        return item_id
    return f"{escape(user_id)}/{item_id}"


def place_name(session_id: str, turn: int) -> str:
    """What a place in a session is called where a name must be short, and plain."""
    return str(uuid5(_NAMESPACE, json.dumps([session_id, turn])))


def memory_id_for(ref: CubeRef, item_id: str, *position: int | str) -> str:
    """The id of the memory at one position of one message: always the same, so writing it is idempotent.

    Args:
        item_id: what the message is called within the cube (``id_within``).
    """
    place = json.dumps([ref.user_id, ref.mem_cube_id, item_id, *map(str, position)])  # no id can look like two
    return str(uuid5(_NAMESPACE, place))
