"""A delivery: a message that this worker has the lease of, as its entry says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memsched.broker.keys import Lane
from memsched.errors import InvalidMessage, NewerMessage
from memsched.messages import MAX_ID_CHARACTERS, ScheduleMessageItem, id_of_entry
from memsched.queue import crash_account

COUNTERS = ("errors", "timeouts", "crashes", "deferrals")
"""What happened to a message before; travels in its entry, because entries outlive every status."""
_COUNTERS = frozenset(COUNTERS)
ORIGIN = "origin"
"""Field of a follow-up: when the message was submitted that led to it, ms since the epoch."""
MAX_FIELDS = 1000
"""Of one entry. Far above what a message has, far below what one call of Lua can pass on (about 4000)."""


@dataclass(slots=True, eq=False)
class Delivery:
    """One entry of a stream, leased by this worker until it is settled, handed back or lost.

    Args:
        count: the delivery count: one, and the crashes of this entry (see crash_account).
        previous_owner: the worker that it was claimed from; '' if it is new.
        idle_ms: for how long that one had been silent; 0 if it is new.
    """

    lane: Lane
    entry_id: str
    fields: dict[str, str]
    message: ScheduleMessageItem
    count: int = 1
    previous_owner: str = ""
    idle_ms: int = 0
    started: float = 0.0
    """time.time() of the start; 0 while it waits in the buffer."""
    marked: bool = False
    """The server knows that it has been running for a while."""
    lost: bool = False
    """Another worker owns it now: nothing that is done with it here counts any more."""
    checkpoint: Any = field(default=None)
    has_past: bool = False
    """It ran before, or was claimed: it may have a checkpoint, and runs in a call of its own."""
    item_id: str = field(init=False)
    user_id: str = field(init=False)

    def __post_init__(self) -> None:
        # A handler may do to its message what it likes: these are what the server knows it by.
        self.item_id = self.message.item_id
        self.user_id = self.message.user_id

    @property
    def counted_user(self) -> str:
        """The user whose unfinished messages include this one; '' for one that a plain XADD brought."""
        return self.user_id if "submitted" in self.fields else ""

    @property
    def submitted_ms(self) -> int:
        """When it was submitted, or the message was whose follow-up it is, ms since the epoch by the server's clock."""
        since = self.fields.get(ORIGIN) or self.fields.get("submitted", "")
        return int(since) if since.isdecimal() and len(since) < 16 else int(self.entry_id.partition("-")[0])

    @property
    def crashes(self) -> int:
        """How many workers died while they ran it."""
        return _as_count(self.fields.get("crashes")) + crash_account.crashes_of(self.count)

    @property
    def attempts(self) -> dict[str, int]:
        """Failures so far, by kind. Crashes of this entry stand in the delivery count."""
        counts = {name: _as_count(self.fields.get(name)) for name in COUNTERS}
        counts["crashes"] = self.crashes
        return counts

    @property
    def timestamp(self) -> str:
        """As the producer wrote it; of one that wrote none, when its entry came."""
        return self.fields.get("timestamp") or self.message.timestamp.isoformat()

    @property
    def task_key(self) -> str:
        return self.lane.task(self.user_id, self.item_id)


@dataclass(frozen=True, slots=True)
class Malformed:
    """A malformed entry: it is no message, for this reason, and goes to the dead letters as it is."""

    lane: Lane
    entry_id: str
    reason: str
    user_id: str
    item_id: str
    """What it gave as its user and its id, if that is usable: there its producer looks for its status."""
    counted_user: str = ""
    timestamp: str = ""

    @property
    def task_key(self) -> str:
        return self.lane.task(self.user_id, self.item_id)


@dataclass(frozen=True, slots=True)
class Newer:
    """An entry that a newer memsched wrote, in a form that is not known here: it is left to workers that know it."""

    lane: Lane
    entry_id: str
    reason: str


Entry = Delivery | Malformed | Newer
"""What stands in a stream, understood."""


def read_entry(
    lane: Lane,
    entry_id: bytes,
    raw: Sequence[bytes],
    *,
    count: int = 1,
    previous_owner: str = "",
    idle_ms: int = 0,
) -> Entry:
    """What an entry holds."""
    id_text = entry_id.decode()
    refused = ""
    try:
        texts = [part.decode() for part in raw]
    except UnicodeDecodeError as error:
        refused = f"a field is not UTF-8: {error.reason}"
        texts = [part.decode("utf-8", "backslashreplace") for part in raw]  # as its dead letter shows it
    names = iter(texts)
    fields = dict(zip(names, names, strict=False))
    try:
        if refused:
            raise InvalidMessage(refused)
        if len(texts) > 2 * MAX_FIELDS:
            raise InvalidMessage(f"it has {len(texts) // 2:,} fields, the limit is {MAX_FIELDS:,}")
        message = ScheduleMessageItem.from_wire(
            lane.label,
            fields,
            default_id=fields.get("item_id") or id_of_entry(lane.name, id_text),
            default_ms=int(id_text.partition("-")[0]) if "timestamp" not in fields else 0,
        )
    except NewerMessage as error:
        return Newer(lane, id_text, error.reason)
    except (InvalidMessage, ValueError, OverflowError) as error:
        # OverflowError, and a ValueError that is no validation error: a time far outside the calendar.
        reason = error.reason if isinstance(error, InvalidMessage) else str(error)
        counted = fields.get("user_id", "") if "submitted" in fields else ""
        return Malformed(lane, id_text, reason, *ids_in(fields, id_of_entry(lane.name, id_text)), counted)
    has_past = previous_owner != "" or count > 1 or not _COUNTERS.isdisjoint(fields)
    return Delivery(lane, id_text, fields, message, count, previous_owner, idle_ms, has_past=has_past)


def ids_in(fields: Mapping[str, str], default_id: str) -> tuple[str, str]:
    """The user and the id under which the record of an entry is kept, whatever else is wrong with it.

    A user that is no usable one is "": such a record is nobody's.
    """
    user_id, item_id = fields.get("user_id", ""), fields.get("item_id", "")
    return (
        user_id if len(user_id) <= MAX_ID_CHARACTERS else "",
        item_id if 0 < len(item_id) <= MAX_ID_CHARACTERS else default_id,
    )


def read_streams(reply: Any, lanes: dict[bytes, Lane]) -> list[Entry]:
    """The entries in an XREADGROUP reply, in order.

    An entry that was deleted while it was pending has no fields; XREADGROUP with ``>`` never answers one.

    Args:
        lanes: by stream key.
    """
    streams = reply.items() if isinstance(reply, dict) else reply or ()  # whichever protocol the server speaks
    return [read_entry(lanes[stream], entry_id, raw) for stream, entries in streams for entry_id, raw in entries if raw]


def _as_count(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else 0
