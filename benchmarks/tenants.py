"""What a search costs by the size of its cube, when a great many memories of other cubes are in the same collection.

The embedded engine is filled by direct inserts. At each total the same questions are asked in cubes of 100 to 100,000
memories, and the bare client's one query in a collection of 10,000. The rest are cubes of 1,000 memories, whose texts
and vectors come from a pool.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import NAMESPACE_OID, uuid5

import psutil
from qdrant_client import AsyncQdrantClient, models

from benchmarks.talk import Talk
from benchmarks.targets import Results, Target
from memsched import AsyncMemScheduler, Settings
from memsched.embedded.teardown import end_servers
from memsched.embedded.vector_server import ensure_vector_server, vector_client_options
from memsched.logs import configure_logs
from memsched.memory.access.permissions import CubeRef
from memsched.memory.embedding.hashing import HashingEmbedder
from memsched.memory.ingest.deduplication import content_hash
from memsched.memory.model import Memory
from memsched.memory.search.term_statistics import terms_of
from memsched.memory.search.window import Surroundings, window_vector
from memsched.memory.store.points import Point

TOTALS = (20_000, 200_000, 1_000_000)
CUBES = {100: 20, 1_000: 5, 10_000: 1, 100_000: 1}
"""Sizes of the cubes that are asked, and how many there are of each."""
REST = 1_000
"""Size of each of the other cubes."""
RAW = 10_000
QUESTIONS = 200
WARM_UP = 20
TARGETS: dict[str, Target] = {}
_PER_SESSION = 50
_AT_ONCE = 500
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_SPEAKERS = ("Anna", "Ben")
Item = TypeVar("Item")
_UNKNOWN = "xylozoic"
"""A word that no memory has."""


@dataclass(frozen=True)
class Asked:
    """A question of a cube."""

    ref: CubeRef
    text: str


class TenantsBenchmark:
    """A step for each total; the collection grows from one to the next.

    The first one makes the bare client's collection as well.
    """

    STEPS: tuple[str, ...] = tuple(map(str, TOTALS))

    def __init__(self, results: Results) -> None:
        self.results = results
        self._talk = Talk()
        self._embedder = HashingEmbedder()
        self._asked: dict[int, list[Asked]] = {}
        self._pool: list[Point] = []
        self._memories = 0
        self._others = 0

    async def run(self, only: list[str]) -> None:
        """Run the steps; fills in the flat results."""
        folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
        settings = Settings.load(redis_url=f"embedded://{folder}", qdrant_url="", memory=True, log_level="error")
        configure_logs(settings)
        async with AsyncMemScheduler(settings) as scheduler:
            self._services = await scheduler.memory()
            await self._services.store.open()
            socket = await asyncio.to_thread(ensure_vector_server, settings.store_url.removeprefix("embedded://"))
            self._client = AsyncQdrantClient(**vector_client_options(socket))
            await self._fill_raw()
            for step in only or self.STEPS:
                print(f"{step} ...", file=sys.stderr, flush=True)
                await self._grow(int(step))
                await self._ask(step)
                self._weigh(step, folder)
            await self._client.close()
        await asyncio.to_thread(end_servers, folder)
        shutil.rmtree(folder, ignore_errors=True)

    # -- filling -------------------------------------------------------------------------------------------------

    async def _fill_raw(self) -> None:
        params = models.VectorParams(size=self._embedder.dimensions, distance=models.Distance.COSINE)
        await self._client.create_collection("raw", {"dense": params})
        texts = [self._talk.sentence(8) for _ in range(RAW)]
        vectors = await self._embedder.embed_documents(texts)
        for some in _parts(range(RAW)):
            points = [models.PointStruct(id=n, vector={"dense": vectors[n]}, payload={"text": texts[n]}) for n in some]
            await self._client.upsert("raw", points, wait=True)

    async def _grow(self, total: int) -> None:
        """Add the cubes that are asked and fit in, then others, until there are so many memories."""
        begun, before = time.perf_counter(), self._memories
        for size, count in CUBES.items():
            if size not in self._asked and self._memories + size * count <= total:
                self._asked[size] = []
                for number in range(count):
                    await self._add_asked(CubeRef(f"reader {number}", f"of {size}"), size)
        while self._memories + REST <= total:
            await self._add_other()
        self.results[f"insert_{total}_per_s"] = (self._memories - before) / (time.perf_counter() - begun)

    async def _add_asked(self, ref: CubeRef, size: int) -> None:
        memories = [self._memory(ref, number) for number in range(size)]
        for some in _parts(memories):  # whole sessions
            await self._insert(await self._points(ref, some))
            await self._services.terms.add(ref, {each.memory_id: [terms_of(each)] for each in some})
        chosen = random.Random(f"{ref}")
        for _ in range(QUESTIONS // CUBES[size]):
            words = [word for word in chosen.choice(memories).text.rstrip(".").split() if len(word) > 3]
            asked = " ".join(chosen.sample(words, min(3, len(words))))
            speaker = chosen.choice((*_SPEAKERS, "she"))
            self._asked[size].append(Asked(ref, f"When did {speaker} {asked}?"))

    async def _add_other(self) -> None:
        if not self._pool:
            ref = CubeRef("pool", "of others")
            self._pool = await self._points(ref, [self._memory(ref, number) for number in range(10 * REST)])
        ref = CubeRef(f"other {self._others}", "talk")
        first = self._others % 10 * REST
        points = [
            Point(
                each.memory.model_copy(
                    update={
                        "memory_id": _id(ref, number),
                        "user_id": ref.user_id,
                        "mem_cube_id": ref.mem_cube_id,
                    }
                ),
                each.dense,
                each.lexical,
            )
            for number, each in enumerate(self._pool[first : first + REST])
        ]
        self._others += 1
        await self._insert(points)

    async def _points(self, ref: CubeRef, memories: Sequence[Memory]) -> list[Point]:
        surroundings = Surroundings(memories)
        dense = await self._embedder.embed_documents([each.indexed_text for each in memories])
        return [
            Point(memory, vector, window_vector(ref, memory, surroundings))
            for memory, vector in zip(memories, dense, strict=True)
        ]

    async def _insert(self, points: Sequence[Point]) -> None:
        ref = points[0].memory.ref
        for some in _parts(points):
            await self._services.store.insert(ref, some)
        self._memories += len(points)

    def _memory(self, ref: CubeRef, number: int) -> Memory:
        text, at = self._talk.sentence(8), _BEGIN + timedelta(minutes=number)
        speaker = _SPEAKERS[number % len(_SPEAKERS)]
        return Memory(
            memory_id=_id(ref, number),
            user_id=ref.user_id,
            mem_cube_id=ref.mem_cube_id,
            text=text,
            speaker=speaker,
            at=at,
            created_at=at,
            updated_at=at,
            session_id=f"session {number // _PER_SESSION}",
            turn=number % _PER_SESSION,
            value=number % 5,
            content_hash=content_hash(speaker, text),
        )

    # -- asking --------------------------------------------------------------------------------------------------

    async def _ask(self, total: str) -> None:
        """In each size of cube: the bare client's one query, a question of known words, one with an unknown word, in
        turn, so that all of them meet the same machine.
        """
        vectors = await self._embedder.embed_documents([self._talk.question() for _ in range(QUESTIONS)])
        for size, asked in self._asked.items():
            taken: dict[str, list[float]] = defaultdict(list)
            for number in range(-WARM_UP, QUESTIONS):
                begun = time.perf_counter()
                await self._client.query_points("raw", vectors[number % QUESTIONS], using="dense", limit=20)
                taken["raw"].append(time.perf_counter() - begun)
                each = asked[number % QUESTIONS]
                for name, text in (("search", each.text), ("search_unknown", f"{each.text} {_UNKNOWN}")):
                    begun = time.perf_counter()
                    await self._services.search.search(each.ref, text, top_k=10)
                    taken[name].append(time.perf_counter() - begun)
            for name, seconds in taken.items():
                sorted_ms = sorted(1000 * each for each in seconds[WARM_UP:])
                self.results[f"{name}_{size}_of_{total}_p50_ms"] = statistics.median(sorted_ms)
                self.results[f"{name}_{size}_of_{total}_p95_ms"] = sorted_ms[int(0.95 * QUESTIONS)]

    def _weigh(self, total: str, folder: Path) -> None:
        """Memory of the vector process, and what is on disk."""
        for process in psutil.process_iter(["cmdline"]):
            command = " ".join(process.info["cmdline"] or ())
            if str(folder) in command and "embedded.vectors" in command:
                self.results[f"vectors_{total}_rss_mb"] = process.memory_info().rss / 1e6
        size = sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
        self.results[f"disk_{total}_mb"] = size / 1e6


def markdown(results: Results) -> str:
    """A row for each total and size of cube: p50 and p95 in ms of the bare client's query, and of both questions."""
    kinds = ("raw", "search", "search_unknown")
    lines = [
        "| memories in all | in the cube | bare client, p50 / p95 ms | search | with an unknown word | p50 to bare |",
        "|---:|---:|---|---|---|---:|",
    ]
    for total in TOTALS:
        for size in CUBES:
            if f"raw_{size}_of_{total}_p50_ms" in results:
                of = {
                    kind: [results[f"{kind}_{size}_of_{total}_{part}_ms"] for part in ("p50", "p95")] for kind in kinds
                }
                cells = [f"{p50:.1f} / {p95:.1f}" for p50, p95 in of.values()]
                ratio = of["search"][0] / of["raw"][0]
                lines.append(f"| {total:,} | {size:,} | {' | '.join(cells)} | {ratio:.1f} |")
    return "\n".join(lines) + "\n"


def _parts(every: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (every[at : at + _AT_ONCE] for at in range(0, len(every), _AT_ONCE))


def _id(ref: CubeRef, number: int) -> str:
    return str(uuid5(NAMESPACE_OID, f"{ref} {number}"))
