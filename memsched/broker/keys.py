"""Every key name, and the escaping of ids. No key is built anywhere else.

Ids, labels and item ids come from strangers: they may hold ``:``, ``{``, spaces, any Unicode. All but letters,
digits and ``_ . ~ -`` is percent-encoded, so a name can neither break out of its place nor out of its hash tag.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote
from zlib import crc32

GROUP = "memsched"
NOBODY = "~"
"""The consumer that holds what was handed back: owned by no worker, claimable at once. Escaped ids never equal it."""

_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+").fullmatch


def escape(text: str) -> str:
    """A form of ``text`` that is safe inside a key; ``unescape`` returns the text."""
    return text if _PLAIN(text) else quote(text, safe="")


unescape = unquote


@dataclass(frozen=True, slots=True)
class Lane:
    """One label, or one partition of it: the unit that has a stream, and the Redis Cluster hash tag."""

    label: str
    name: str
    stream: str
    delayed: str
    dead: str
    outbox: str
    users: str
    parked: str
    oldest: str
    leases: str
    """hash: the min idle of each consumer; 0 for one that was seen to die."""
    deaths: str
    """zset: the workers that died, by time; the last thousand."""
    stats: str
    """hash: totals of what was counted; beside it those of each minute and each ten (queue/statistics.py)."""
    task_prefix: str

    def __hash__(self) -> int:
        return hash(self.stream)

    @property
    def kept(self) -> tuple[str, ...]:
        """What a script that puts messages into the stream, or takes them out, may change: its first keys."""
        return (self.stream, self.delayed, self.dead, self.users, self.parked)

    def task(self, user_id: str, item_id: str) -> str:
        """hash: the status of one message. Ids are the user's own: two users may use the same one."""
        return f"{self.task_prefix}{escape(user_id)}/{escape(item_id)}"

    def parts_of(self, user_id: str, task_id: str) -> str:
        """set: the (escaped) item ids of the messages that name this business task of a user."""
        return f"{self.task_prefix.removesuffix('task:')}parts:{escape(user_id)}/{escape(task_id)}"

    def batch(self, name: str) -> str:
        """list: pages of a handler's follow-ups, in the outbox or staged for it."""
        return f"{self.outbox}:{name}"

    def entries_of(self, user_id: str) -> str:
        """set: the ids of a user's entries in the stream."""
        return f"{self.users}:{escape(user_id)}"

    def parked_of(self, user_id: str) -> str:
        """list: what waits until the user has fewer messages in the stream."""
        return f"{self.parked}:{escape(user_id)}"


@dataclass(frozen=True, slots=True)
class CubeKeys:
    """What a cube has in Redis, all of it in one slot. A cube is named by its owner's id and their name for it."""

    hot: str
    """hash: the state that changes by compare-and-set (working set, activation block, version)."""
    applied: str
    """zset: the item ids whose effect the state already holds, by time."""
    talk: str
    """zset: the last questions and answers, by when they were said; each is written once."""
    terms: str
    """hash: in how many of the cube's memories a term occurs."""
    changes: str
    """stream, capped: which of the cube's memories were stored, marked or deleted lately."""
    places: str
    """hash: the places reserved in the cube's sessions lately."""
    tombstones: str
    """zset: the ids of memories that were deleted for good, by time."""
    asked: str
    """zset: the last requests to forget something, by when they were said."""
    imported: str
    """hash: by conversation of an export, what of it was brought in."""
    adapters: str
    """hash: the adapters of parameter memory by compare-and-set, which of them serves, and who consented."""
    events: str
    """stream, capped: what happened to the cube's memories."""


class Keys:
    """The names of all keys under one prefix.

    Args:
        partitions: into how many lanes each label is split; messages of one cube always share a lane.
    """

    def __init__(self, prefix: str = "memsched", partitions: int = 1) -> None:
        self.prefix = prefix
        self.partitions = partitions
        self.lanes = f"{prefix}:lanes"
        self.workers = f"{prefix}:workers"
        self.events = f"{prefix}:events"
        self.paused = f"{prefix}:paused"
        self.wake = f"{prefix}:wake"
        self.users = f"{prefix}:users"
        self.epoch = f"{prefix}:epoch"
        self.statistics = f"{prefix}:statistics:{{all}}"
        """hash: what processes counted beside messages; beside it those of each minute and each ten."""
        self.training = f"{prefix}:training"
        """string: which process trains an adapter now."""
        self.adapted = f"{prefix}:adapted"
        """set: the cubes that ever had an adapter."""
        self.api_keys = f"{prefix}:keys"
        """hash: the API keys by id, hashed; in one slot with when they expire (zset) and were used last (hash)."""
        self.api_keys_due = f"{{{prefix}:keys}}:due"
        self.api_keys_used = f"{{{prefix}:keys}}:used"
        self.audit = f"{prefix}:audit"
        """stream, capped: who read and changed what."""
        self.lane_named = lru_cache(maxsize=4096)(self._lane_named)
        self.cube = lru_cache(maxsize=4096)(self._cube)

    def worker(self, worker_id: str) -> str:
        return f"{self.prefix}:worker:{escape(worker_id)}"

    def ladder(self, place: str) -> str:
        """hash: how the prefix cache of a server and model is warmed, and what chats of which cubes missed there.

        Args:
            place: server and model (``LLM.place``).
        """
        return f"{self.prefix}:ladder:{escape(place)}"

    def reindex(self, collection: str) -> str:
        """hash: which process embeds all memories of this collection anew."""
        return f"{self.prefix}:reindex:{escape(collection)}"

    def idempotency(self, item_id: str) -> str:
        """string: a hash of the body that was submitted with the Idempotency-Key which stands for this item id; or the
        token of the change that rests on the version of a memory which it stands for."""
        return f"{self.prefix}:idempotency:{escape(item_id)}"

    def session(self, digest: str) -> str:
        """string: with which API key a session of a browser was begun; named by a hash of its cookie."""
        return f"{self.prefix}:session:{escape(digest)}"

    def rate(self, window: str) -> str:
        """string: how many requests came in a window of the rate limit of an API key."""
        return f"{self.prefix}:rate:{escape(window)}"

    def user(self, user_id: str) -> str:
        """hash: a user's own counter of changes. All keys of a user share a slot."""
        return f"{self._of_user(user_id)}:about"

    def user_cubes(self, user_id: str) -> str:
        """hash: what each of the user's names for a cube stands for."""
        return f"{self._of_user(user_id)}:cubes"

    def user_configs(self, user_id: str) -> str:
        """hash: the configurations of the cubes that the user owns, by their names for them."""
        return f"{self._of_user(user_id)}:configs"

    def user_tags(self, user_id: str) -> str:
        """hash: the tags of the cubes that the user owns, by their names for them."""
        return f"{self._of_user(user_id)}:tags"

    def user_grants(self, user_id: str, mem_cube_id: str) -> str:
        """hash: with whom the user shares this cube of their own."""
        return f"{self._of_user(user_id)}:grants:{escape(mem_cube_id)}"

    def _of_user(self, user_id: str) -> str:
        return f"{self.prefix}:user:{{{escape(user_id)}}}"

    def _cube(self, ref_user: str, ref_cube: str) -> CubeKeys:
        """The keys of the cube that its owner ``ref_user`` calls ``ref_cube``."""
        tag = f"{self.prefix}:cube:{{{escape(ref_user)}/{escape(ref_cube)}}}"
        names = (
            *("hot", "applied", "talk", "terms", "changes", "places", "tombstones", "asked", "imported", "adapters"),
            "events",
        )
        return CubeKeys(*(f"{tag}:{name}" for name in names))

    def lane(self, label: str, user_id: str, mem_cube_id: str) -> Lane:
        """The lane that a message of this label and cube goes to."""
        name = escape(label)
        if self.partitions > 1:
            cube = f"{user_id}|{mem_cube_id}".encode("utf-8", "surrogatepass")
            name = f"{name}/{crc32(cube) % self.partitions}"
        return self.lane_named(name)

    def lanes_of(self, label: str) -> list[Lane]:
        """All lanes that a label has in this configuration."""
        name = escape(label)
        if self.partitions == 1:
            return [self.lane_named(name)]
        return [self.lane_named(f"{name}/{number}") for number in range(self.partitions)]

    def _lane_named(self, name: str) -> Lane:
        """The lane with this (escaped) name, as the set of lanes holds it."""
        tag = f"{self.prefix}:{{{name}}}"
        return Lane(
            label=unescape(name.partition("/")[0]),
            name=name,
            stream=f"{tag}:stream",
            delayed=f"{tag}:delayed",
            dead=f"{tag}:dead",
            outbox=f"{tag}:outbox",
            users=f"{tag}:users",
            parked=f"{tag}:parked",
            oldest=f"{tag}:oldest",
            leases=f"{tag}:leases",
            deaths=f"{tag}:deaths",
            stats=f"{tag}:stats",
            task_prefix=f"{tag}:task:",
        )
