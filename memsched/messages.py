"""The messages that users see, their labels, and their wire form.

The wire form is a flat list of strings, readable in redis-cli and documented in docs/wire-format.md. A producer
in another language needs to send no more than ``user_id``, ``mem_cube_id`` and ``content``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any
from uuid import UUID, uuid4, uuid5

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from memsched.errors import InvalidMessage, NewerMessage
from memsched.json_values import as_json_value, place_of_no_json

QUERY_TASK_LABEL = QUERY_LABEL = "query"
ANSWER_TASK_LABEL = ANSWER_LABEL = "answer"
ADD_TASK_LABEL = ADD_LABEL = "add"
MEM_READ_TASK_LABEL = "mem_read"
MEM_REREAD_TASK_LABEL = "mem_reread"
MEM_UPDATE_TASK_LABEL = "mem_update"
MEM_ORGANIZE_TASK_LABEL = "mem_organize"
MEM_ARCHIVE_TASK_LABEL = "mem_archive"
PREF_ADD_TASK_LABEL = "pref_add"
MEM_FEEDBACK_TASK_LABEL = "mem_feedback"
PRELOAD_TASK_LABEL = "preload"
PREDICT_TASK_LABEL = "predict"
ACTIVATION_UPDATE_TASK_LABEL = "activation_update"
PARAMETER_EXPORT_TASK_LABEL = "parameter_export"
PARAMETER_TRAIN_TASK_LABEL = "parameter_train"

TYPING = "typing"
"""In the ``info`` of a ``predict`` message: ``scheduler.predict`` sent it, while somebody types."""

NOT_WAITED_FOR = frozenset({MEM_REREAD_TASK_LABEL})
"""Labels of what was put off until something outside works again, maybe for days: ``wait`` leaves out what of them is
not due yet.
"""

LONG_TERM_MEMORY_TYPE = "LongTermMemory"
USER_MEMORY_TYPE = "UserMemory"
WORKING_MEMORY_TYPE = "WorkingMemory"
ACTIVATION_MEMORY_TYPE = "ActivationMemory"
PARAMETER_MEMORY_TYPE = "ParameterMemory"

WIRE_VERSION = "1"
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""The default of MEMSCHED_MAX_MESSAGE_BYTES. What is much larger blocks the server for everyone while it is copied."""
MAX_ID_CHARACTERS = 512
MAX_LABEL_CHARACTERS = 128
MOST_OFFSET = 24 * 60
"""Minutes that a zone can be away from UTC."""

_SIZE_OF_A_TURN = 200
"""Characters that take as long as all else about a turn."""
_ON_THE_WIRE = "on the wire"
_OFFSET = re.compile(r":\d{2}(?:\.\d+)?([+-])(\d{2}):?(\d{2})\s*$")
_ENTRY_NAMESPACE = UUID("9f4c5a6e-57f1-4d0c-9a3e-6d4f0c2b8e11")


def _in_utc(moment: datetime, info: ValidationInfo) -> datetime:
    """A time without a zone is local time, as ``datetime.now()`` gives it; on the wire nobody knows where."""
    if moment.tzinfo is UTC:
        return moment
    if moment.tzinfo is None and info.context is _ON_THE_WIRE:
        raise ValueError("it must have a time zone")
    try:
        return moment.astimezone(UTC)
    except (OverflowError, OSError, ValueError) as error:  # year 1, year 9999
        raise ValueError(f"no time that can be told in UTC: {error}") from error


def in_zone(moment: datetime, utc_offset: int) -> datetime:
    """A moment as a clock in that zone shows it; where no calendar goes so far, as it is."""
    try:
        return moment.astimezone(timezone(timedelta(minutes=utc_offset))) if utc_offset else moment
    except (OverflowError, ValueError):  # the first day, or the last
        return moment


def utc_offset_of(moment: datetime) -> int:
    """Minutes."""
    return (moment.utcoffset() or timedelta()) // timedelta(minutes=1)


def _offset_told(given: Any) -> int:
    """The offset of a time as a producer gives it; 0 where it tells none."""
    if isinstance(given, str) and (found := _OFFSET.search(given)):
        minutes = 60 * int(found[2]) + int(found[3])
        return min(-minutes if found[1] == "-" else minutes, MOST_OFFSET)
    return utc_offset_of(given) if isinstance(given, datetime) else 0


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return str(uuid4())


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARACTERS)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=MAX_LABEL_CHARACTERS)]
UtcTime = Annotated[datetime, AfterValidator(_in_utc)]


class ScheduleMessageItem(BaseModel):
    """One conversation event, on its way to the handler of its label.

    ``content`` is text; structured input goes to ``info`` (any JSON object) or ``chat_history`` (a list of JSON
    values, or of messages as SDKs have them). ``mem_cube`` may hold a cube object for handlers in this process; it is
    never sent.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, validate_assignment=True, extra="forbid")

    item_id: Id = Field(default_factory=_new_id)
    user_id: Id
    mem_cube_id: Id
    label: Label
    content: str
    timestamp: UtcTime = Field(default_factory=_now)
    utc_offset: int = Field(default=0, ge=-MOST_OFFSET, le=MOST_OFFSET)
    """Of the zone that the timestamp was told in, in minutes: whoever says "tomorrow" means a day there."""
    mem_cube: Any = Field(default=None, exclude=True, repr=False)
    task_id: str | None = None
    session_id: str | None = None
    trace_id: str | None = None
    """W3C traceparent of the request that caused the message; travels with it and into every log line."""
    user_name: str | None = None
    expires_at: UtcTime | None = None
    """After which it is not started any more: it goes to the dead letters as ``expired``."""
    info: dict[str, Any] | None = None
    chat_history: list[Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _keep_the_zone(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "timestamp" in given and "utc_offset" not in given:
            return {**given, "utc_offset": _offset_told(given["timestamp"])}
        return given

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "timestamp":
            super().__setattr__("utc_offset", _offset_told(value))

    @property
    def local_timestamp(self) -> datetime:
        """When it happened, by the clock of who tells it."""
        return in_zone(self.timestamp, self.utc_offset)

    @field_validator("chat_history")
    @classmethod
    def _as_json_values(cls, given: list[Any] | None, info: ValidationInfo) -> list[Any] | None:
        return given if given is None or info.context is _ON_THE_WIRE else as_json_value(given)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them, without ``mem_cube``."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> ScheduleMessageItem:
        """What ``to_dict`` returned. Raises InvalidMessage."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise InvalidMessage(describe_validation_error(error)) from error

    def to_wire(self, max_bytes: int = MAX_MESSAGE_BYTES) -> list[str]:
        """The entry's fields, flat: name, value, name, value. Raises InvalidMessage if it cannot be sent."""
        fields = [
            "v",
            WIRE_VERSION,
            "item_id",
            self.item_id,
            "user_id",
            self.user_id,
            "mem_cube_id",
            self.mem_cube_id,
            "content",
            self.content,
            "timestamp",
            self.local_timestamp.isoformat(),
        ]
        if self.task_id is not None:
            fields += ("task_id", self.task_id)
        if self.session_id is not None:
            fields += ("session_id", self.session_id)
        if self.trace_id is not None:
            fields += ("trace_id", self.trace_id)
        if self.user_name is not None:
            fields += ("user_name", self.user_name)
        if self.expires_at is not None:
            fields += ("expires_at", self.expires_at.isoformat())
        try:
            if self.info is not None:
                fields += ("info", _as_json(self.info))
            if self.chat_history is not None:
                fields += ("chat_history", _as_json(self.chat_history))
        except (TypeError, ValueError, RecursionError) as error:
            place = place_of_no_json(self.info, "info") or place_of_no_json(self.chat_history, "chat_history")
            raise InvalidMessage(
                f"info and chat_history must be JSON ({place or error}); item_id={self.item_id}"
            ) from error
        try:
            size = len("".join(fields).encode())
        except UnicodeEncodeError as error:  # half a surrogate pair, as JSON gives it for \ud800, is no character
            raise InvalidMessage(f"it is not Unicode text ({error}); item_id={self.item_id}") from error
        if size > max_bytes:
            limit = f"the limit is {max_bytes:,} (MEMSCHED_MAX_MESSAGE_BYTES)"
            raise InvalidMessage(f"it has {size:,} bytes, {limit}; item_id={self.item_id}")
        return fields

    @classmethod
    def from_wire(
        cls, label: str, fields: Mapping[str, str], *, default_id: str, default_ms: int
    ) -> ScheduleMessageItem:
        """The message in an entry's fields. Raises InvalidMessage, with the reason, if there is none (NewerMessage, if
        a newer memsched wrote it).

        Args:
            default_id: the identity of an entry whose producer sent none.
            default_ms: its time, if the producer sent none.
        """
        if (version := fields.get("v", WIRE_VERSION)) != WIRE_VERSION:
            newer = version.isascii() and version.isdecimal() and int(version[:9]) > int(WIRE_VERSION)
            told = f"wire version {version!r} is not known here (this is version {WIRE_VERSION})"
            raise NewerMessage(told) if newer else InvalidMessage(told)
        values: dict[str, Any] = {name: fields[name] for name in _TEXT_FIELDS if name in fields}
        values["label"] = label
        if "item_id" not in values:
            values["item_id"] = default_id
        if "timestamp" not in values:
            values["timestamp"] = datetime.fromtimestamp(default_ms / 1000, UTC)
        for name in _JSON_FIELDS:
            if name in fields:
                try:
                    values[name] = json.loads(fields[name])
                except (ValueError, RecursionError) as error:
                    raise InvalidMessage(f"field {name} is not JSON: {error}") from error
        try:
            return cls.model_validate(values, context=_ON_THE_WIRE)
        except ValidationError as error:
            raise InvalidMessage(describe_validation_error(error)) from error


_TEXT_FIELDS = (
    "item_id",
    "user_id",
    "mem_cube_id",
    "content",
    "timestamp",
    "task_id",
    "session_id",
    "trace_id",
    "user_name",
    "expires_at",
)
_JSON_FIELDS = ("info", "chat_history")


def size_of(message: ScheduleMessageItem) -> int:
    """How many characters it has, about: of what is nested deeper nothing is counted but that it is there."""
    return len(message.content) + sum(map(_size_of_turn, message.chat_history or ()))


def _size_of_turn(turn: Any) -> int:
    said = turn.get("content") if isinstance(turn, Mapping) else turn
    return len(said) + _SIZE_OF_A_TURN if isinstance(said, str) else 10 * _SIZE_OF_A_TURN


def describe_validation_error(error: ValidationError) -> str:
    """One line that names every wrong field, without repeating its value (it may be a secret, or huge)."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'message'}: {_said_of(problem['type'], problem['msg'])}"
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    )


def _said_of(kind: str, words: str) -> str:
    is_time = kind.startswith("datetime_") and kind not in ("datetime_type", "datetime_object_invalid")
    return "expected a time, such as 2026-01-02T03:04:05Z" if is_time else words


def id_of_entry(lane_name: str, entry_id: str) -> str:
    """The item id of an entry whose producer sent none: always the same one for the same entry."""
    return str(uuid5(_ENTRY_NAMESPACE, f"{lane_name}/{entry_id}"))


MEMORY_SIZE_NAMES = (
    "long_term_memory_size",
    "user_memory_size",
    "working_memory_size",
    "transformed_act_memory_size",
    "parameter_memory_size",
)


def _unknown_sizes() -> dict[str, int]:
    return dict.fromkeys(MEMORY_SIZE_NAMES, -1)


def _default_capacities() -> dict[str, int]:
    return {
        "long_term_memory_capacity": 10000,
        "user_memory_capacity": 10000,
        "working_memory_capacity": 20,
        "transformed_act_memory_capacity": -1,
        "parameter_memory_capacity": -1,
    }


class ScheduleLogForWebItem(BaseModel):
    """One thing that happened to a memory, for people to look at. -1 is a size that is not known or not limited."""

    model_config = ConfigDict(extra="forbid")

    item_id: Id = Field(default_factory=_new_id)
    user_id: Id
    mem_cube_id: Id
    label: Label
    from_memory_type: str
    to_memory_type: str
    log_content: str
    current_memory_sizes: dict[str, int] = Field(default_factory=_unknown_sizes)
    memory_capacities: dict[str, int] = Field(default_factory=_default_capacities)
    timestamp: UtcTime = Field(default_factory=_now)
    task_id: str | None = None
    metadata: list[dict[str, Any]] | dict[str, Any] | None = None

    @field_validator("current_memory_sizes", "memory_capacities")
    @classmethod
    def _complete(cls, given: dict[str, int], info: Any) -> dict[str, int]:
        defaults = _unknown_sizes() if info.field_name == "current_memory_sizes" else _default_capacities()
        return defaults | given

    def to_wire(self) -> list[str]:
        """The event stream's fields: ``event`` holds the item as JSON, the others are there for redis-cli."""
        return ["label", self.label, "user_id", self.user_id, "event", self.model_dump_json()]

    @classmethod
    def from_wire(cls, fields: Mapping[str, str]) -> ScheduleLogForWebItem:
        """The event, with what is known here of what it says: newer writers may say more. Raises InvalidMessage."""
        try:
            said = json.loads(fields["event"])
            return cls.model_validate({name: said[name] for name in cls.model_fields if name in said})
        except (KeyError, TypeError, ValueError, RecursionError) as error:  # a ValidationError is a ValueError
            raise InvalidMessage(f"it is no event: {error}") from error


Messages = ScheduleMessageItem | Iterable[ScheduleMessageItem]


def messages_of(given: Messages) -> list[ScheduleMessageItem]:
    """One message or several, as a list; anything else is a clear error."""
    if isinstance(given, (Mapping, str, bytes)) or not isinstance(given, (ScheduleMessageItem, Iterable)):
        raise InvalidMessage(f"expected ScheduleMessageItem, or several, got {type(given).__name__}")
    messages = [given] if isinstance(given, ScheduleMessageItem) else list(given)
    for message in messages:
        if not isinstance(message, ScheduleMessageItem):
            raise InvalidMessage(f"expected ScheduleMessageItem, got {type(message).__name__}")
    return messages
