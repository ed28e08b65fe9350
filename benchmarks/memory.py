"""Memory against the bare libraries under it, on one machine in one run.

Everything runs on the embedded default: a server and a vector process of its own, and one worker process.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
from qdrant_client import AsyncQdrantClient, models

from benchmarks.talk import Talk
from benchmarks.targets import Results, Target, at_least, at_most
from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.embedded.teardown import end_servers
from memsched.embedded.vector_server import ensure_vector_server, vector_client_options
from memsched.memory.embedding.hashing import HashingEmbedder
from memsched.messages import QUERY_TASK_LABEL

CUBE = "talk"
USERS = 8
TURNS_OF_A_USER = 500
LARGE = "reader"
MEMORIES = 10_000
QUESTIONS = 200
WARM_UP = 50
_PATIENCE = 300.0

TARGETS: dict[str, Target] = {
    "ingest_turns_per_s": at_least("ingest_turns_per_s", 300, "turns/s"),
    "ingest_large_turns_per_s": at_least("ingest_large_turns_per_s", 300, "turns/s"),
    "search_p50_ms": at_most("search_p50_ms", 5.0, f"ms at {MEMORIES:,} memories"),
    "working_set_p50_ms": at_most("working_set_p50_ms", 1.0, "ms"),
}


class MemoryBenchmark:
    """All steps in order; the later ones ask about the memories of the earlier ones."""

    STEPS: tuple[str, ...] = ("raw", "ingest", "large", "search", "working_set", "question")

    def __init__(self, results: Results) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
        self.results = results
        self.talk = Talk()

    async def run(self, only: list[str]) -> None:
        """Run the steps; fills in the flat results. Says on stderr what it is doing: this takes minutes."""
        async with AsyncMemScheduler(redis_url=f"embedded://{self.folder}", log_level="error") as self.scheduler:
            await self.scheduler.server()
            worker = self._start_worker()
            try:
                for step in only or self.STEPS:
                    print(f"{step} ...", file=sys.stderr, flush=True)
                    await getattr(self, f"_{step}")()
                self.results["worker_rss_mb"] = psutil.Process(worker.pid).memory_info().rss / 1e6
            finally:
                worker.terminate()
                worker.wait(60)
        await asyncio.to_thread(self._remove)

    # -- the reference -------------------------------------------------------------------------------------------

    async def _raw(self) -> None:
        """What the vector store does with the same vectors and texts, with qdrant-client and nothing else."""
        services = await self.scheduler.memory()  # starts the vector process
        await services.store.open()
        socket = await asyncio.to_thread(
            ensure_vector_server, self.scheduler.settings.store_url.removeprefix("embedded://")
        )
        client = AsyncQdrantClient(**vector_client_options(socket))
        embedder = HashingEmbedder()
        params = models.VectorParams(size=embedder.dimensions, distance=models.Distance.COSINE)
        await client.create_collection("raw", {"dense": params})
        texts = [self.talk.sentence(8) for _ in range(MEMORIES)]
        begun = time.perf_counter()
        for at in range(0, MEMORIES, 128):
            some = texts[at : at + 128]
            vectors = await embedder.embed_documents(some)
            points = [
                models.PointStruct(id=at + number, vector={"dense": vector}, payload={"text": text})
                for number, (text, vector) in enumerate(zip(some, vectors, strict=True))
            ]
            await client.upsert("raw", points, wait=True)
        self.results["raw_ingest_turns_per_s"] = MEMORIES / (time.perf_counter() - begun)
        asked = [(await embedder.embed_documents([self.talk.question()]))[0] for _ in range(QUESTIONS)]

        async def ask(number: int) -> None:
            await client.query_points("raw", asked[number % QUESTIONS], using="dense", limit=20)

        self.results |= await _timed("raw_query", ask)
        await client.delete_collection("raw")
        await client.close()
        server = await self.scheduler.server()
        await server.execute("SET", "raw", "x" * 4000)

        async def read(_: int) -> None:
            await server.execute("GET", "raw")

        self.results |= await _timed("raw_read", read)

    # -- memsched ------------------------------------------------------------------------------------------------

    async def _ingest(self) -> None:
        """Turns of several users at once, each message followed by its update of the working set."""
        await self._tell("warm up", 50)
        begun = time.perf_counter()
        await asyncio.gather(*(self._tell(f"user {number}", TURNS_OF_A_USER) for number in range(USERS)))
        self.results["ingest_turns_per_s"] = USERS * TURNS_OF_A_USER / (time.perf_counter() - begun)

    async def _large(self) -> None:
        """One cube grows to 10,000 memories; the rate of its last thousand."""
        await self._tell(LARGE, MEMORIES - 1000)
        begun = time.perf_counter()
        await self._tell(LARGE, 1000)
        self.results["ingest_large_turns_per_s"] = 1000 / (time.perf_counter() - begun)

    async def _search(self) -> None:
        asked = [self.talk.question() for _ in range(QUESTIONS)]

        async def search(number: int) -> None:
            await self.scheduler.retriever.search(asked[number % QUESTIONS], LARGE, CUBE, top_k=10)

        self.results |= await _timed("search", search)

    async def _working_set(self) -> None:
        async def read(_: int) -> None:
            await self.scheduler.working_set(LARGE, CUBE)

        self.results |= await _timed("working_set", read)

    async def _question(self) -> None:
        """From the call of submit_messages for a query until the new working set is there."""

        async def ask(_: int) -> None:
            question = self.talk.question()
            await self.scheduler.submit_messages(
                ScheduleMessageItem(user_id=LARGE, mem_cube_id=CUBE, label=QUERY_TASK_LABEL, content=question)
            )
            await self.scheduler.wait(user_id=LARGE, timeout=_PATIENCE)

        self.results |= await _timed("question_to_working_set", ask)

    # -- what the steps are made of ------------------------------------------------------------------------------

    async def _tell(self, user_id: str, turns: int) -> None:
        messages = list(self.talk.messages(user_id, turns))
        await self.scheduler.submit_messages(messages)
        await self.scheduler.wait(user_id=user_id, timeout=_PATIENCE)

    def _start_worker(self) -> subprocess.Popen[bytes]:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("MEMSCHED_")}
        variables |= {
            "MEMSCHED_REDIS_URL": f"embedded://{self.folder}",
            "MEMSCHED_LOG_LEVEL": "error",
            "MEMSCHED_LIVENESS_DIR": str(self.folder / "live"),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "memsched.process", "--supervisor", str(os.getpid())], env=variables
        )

    def _remove(self) -> None:
        end_servers(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)


async def _timed(name: str, call: Callable[[int], Awaitable[Any]]) -> Results:
    """p50 and p95 in ms of QUESTIONS calls, one after another, after some that do not count."""
    for number in range(WARM_UP):
        await call(number)
    taken: list[float] = []
    for number in range(QUESTIONS):
        begun = time.perf_counter()
        await call(number)
        taken.append(1000 * (time.perf_counter() - begun))
    taken.sort()
    return {f"{name}_p50_ms": statistics.median(taken), f"{name}_p95_ms": taken[int(0.95 * len(taken))]}
