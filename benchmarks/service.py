"""What the service takes, in one run: ``memsched serve`` in a process of its own, a cube of 10,000 memories.

``prompt``: what goes before a model call, of questions in the words of what is near, which need no search. ``search``:
the same questions as searches, with an embedding model that takes 50 ms. ``rate``: prompts on 32 connections, and an
empty route of the same application. ``workers``: what their statistics cost, and their commands when idle.
``proxy``: the same question to a stand-in for a model's server, and through the proxy before it, in turn: questions in
the words of what is near, which need no search, and others. No worker runs: what is to be remembered waits, so that it
is the request itself that is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx

from benchmarks import transport
from benchmarks.embedding_server import SETTINGS, EmbeddingServer
from benchmarks.load import Load, Loaded, loaded
from benchmarks.talk import Talk
from benchmarks.targets import Results, Target, at_least, at_most, share
from memsched import AsyncMemScheduler, Settings
from memsched.embedded.teardown import end_servers
from memsched.logs import configure_logs

MEMORIES = 10_000
QUESTIONS = 200
WARM_UP = 20
PAUSE_SECONDS = 0.05
"""Between two pieces of the stand-in's stream."""
READ_SECONDS = 0.02
"""For which an answer is read before the next question: what is done after it is no part of the next one's time."""
USER, CUBE = "anna", "talk"
PROMPTS, CONNECTIONS = 1_000, 32
EMBEDDER_SECONDS = 0.05
TARGETS: dict[str, Target] = {
    "prompt_p50_ms": at_most("prompt_p50_ms", 5, "ms"),
    "prompt_p99_ms": at_most("prompt_p99_ms", 25, "ms"),
    "search_by_prompt": at_least("search_by_prompt", 10, "times the prompt's p50"),
    "prompts_per_s": share("prompts_per_s", "empty_per_s", 0.25),
    "statistics_cost_share": transport.TARGETS["statistics_cost_share"],
    "idle_commands_per_s": transport.TARGETS["idle_commands_per_s"],
    "proxy_adds_p50_ms": at_most("proxy_adds_p50_ms", 10, "ms"),
    "proxy_first_piece_adds_p50_ms": at_most("proxy_first_piece_adds_p50_ms", 10, "ms"),
}
_ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}]}'
_PIECE = b'data: {"choices":[{"index":0,"delta":{"content":"Yes. "},"finish_reason":null}]}\n\n'
_DONE = b"data: [DONE]\n\n"


class ServiceBenchmark:
    """A step for each part of the service."""

    STEPS: tuple[str, ...] = ("prompt", "search", "rate", "proxy", "workers")

    def __init__(self, results: Results) -> None:
        self.results = results
        self._talk = Talk()
        self._near: list[str] = []
        self._searched = 0

    async def run(self, only: list[str]) -> None:
        """Run the steps; fills in the flat results."""
        steps = only or self.STEPS
        if set(steps) - {"workers"}:
            async with EmbeddingServer().running() as self._embedding:
                await self._asked([step for step in steps if step != "workers"])
        if "workers" in steps:
            await transport.TransportBenchmark(self.results).run(["statistics", "idle"])

    async def _asked(self, steps: list[str]) -> None:
        folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
        given = {**SETTINGS, "embedding_base_url": self._embedding.url}
        settings = Settings.load(
            redis_url=f"embedded://{folder}", qdrant_url="", memory=True, log_level="error", **given
        )
        configure_logs(settings)
        print(f"{MEMORIES:,} memories ...", file=sys.stderr, flush=True)
        async with AsyncMemScheduler(settings) as scheduler:
            await scheduler.start()
            await scheduler.submit_messages(
                each.model_copy(update={"mem_cube_id": CUBE}) for each in self._talk.messages(USER, MEMORIES)
            )
            await scheduler.wait()
            self._near = [each.text for each in await scheduler.working_set(USER, CUBE)]
            await scheduler.stop()
            await scheduler.server()  # so that its servers stay for the service
            async with _model() as model, httpx.AsyncClient(timeout=60) as client:
                variables = {f"MEMSCHED_{name.upper()}": str(value) for name, value in given.items()}
                with service_process(folder, {**variables, "MEMSCHED_LLM_BASE_URL": model}) as (url, _):
                    for step in steps:
                        print(f"{step} ...", file=sys.stderr, flush=True)
                        await getattr(self, f"_{step}")(client, model, f"{url}/v1")
        await asyncio.to_thread(end_servers, folder)
        shutil.rmtree(folder, ignore_errors=True)

    async def _prompt(self, _: httpx.AsyncClient, __: str, service: str) -> None:
        found = await self._load(f"{service}/prompt", PROMPTS)
        self.results["prompt_p50_ms"] = found.percentile(0.5)
        self.results["prompt_p99_ms"] = found.percentile(0.99)
        answer = json.loads(found.answer)
        assert answer["working_set"], answer
        assert answer["scheduled"], answer
        self.results["prompt_searched"] = found.counted / (PROMPTS + WARM_UP)
        self.results["prompt_kb"] = len(found.answer) / 1000

    async def _search(self, _: httpx.AsyncClient, __: str, service: str) -> None:
        self._embedding.seconds = EMBEDDER_SECONDS
        found = await self._load(f"{service}/search", QUESTIONS)
        self._embedding.seconds = 0.0
        self.results["search_p50_ms"] = found.percentile(0.5)
        if "prompt_p50_ms" in self.results:
            self.results["search_by_prompt"] = self.results["search_p50_ms"] / self.results["prompt_p50_ms"]

    async def _rate(self, _: httpx.AsyncClient, __: str, service: str) -> None:
        """In turn, best of three: so that both meet the same machine."""
        empty, prompts = [], []
        for _turn in range(3):
            url = service.removesuffix("/v1") + "/healthz"
            empty.append((await loaded(Load(url, [], 4 * PROMPTS, CONNECTIONS))).rate)
            prompts.append((await self._load(f"{service}/prompt", PROMPTS, CONNECTIONS)).rate)
        self.results["empty_per_s"], self.results["prompts_per_s"] = max(empty), max(prompts)

    async def _load(self, url: str, requests: int, connections: int = 1) -> Loaded:
        """Each search asks anew: a text that was embedded before is not embedded again."""
        searches = url.endswith("/search")
        more = {"cubes": [CUBE]} if searches else {"session_id": "benchmark", "cube": CUBE}
        chosen = random.Random(1)
        bodies = [
            json.dumps(
                {"query": f"Is it so that {chosen.choice(self._near)}{number * searches or ''}", "user_id": USER} | more
            )
            for number in range(1, requests + WARM_UP + 1)
        ]
        return await loaded(Load(url, bodies, requests + WARM_UP, connections, WARM_UP, '"searched":true'))

    async def _proxy(self, client: httpx.AsyncClient, model: str, service: str) -> None:
        chosen = random.Random(1)

        async def whole(url: str, question: str) -> float:
            answer = await client.post(f"{url}/chat/completions", json=_body(question), headers=_HEADERS)
            arrived = time.perf_counter()
            assert answer.content == _ANSWER, answer.text
            memory = answer.headers.get("x-memsched-memory", "")
            assert url == model or memory.startswith("used; found="), memory
            self._searched += url == service and "found=0" not in memory
            return arrived

        async def first_piece(url: str, question: str) -> float:
            body = _body(question) | {"stream": True}
            async with client.stream("POST", f"{url}/chat/completions", json=body, headers=_HEADERS) as answer:
                pieces = answer.aiter_raw()
                assert await anext(pieces) == _PIECE
                arrived = time.perf_counter()
                assert b"".join([piece async for piece in pieces]) == _DONE
            return arrived

        def near() -> str:
            return f"Is it so that {chosen.choice(self._near)}"

        def far() -> str:
            return f"When did {self._talk.sentence(3)}"

        await self._compare("proxy", whole, near, (model, service))
        await self._compare("proxy_searching", whole, far, (model, service))
        await self._compare("proxy_first_piece", first_piece, near, (model, service))

    async def _compare(
        self,
        name: str,
        ask: Callable[[str, str], Awaitable[float]],
        question: Callable[[], str],
        urls: tuple[str, str],
    ) -> None:
        """Ask both in turn, so that they meet the same machine.

        Args:
            ask: returns when what is measured had arrived.
        """
        taken: dict[str, list[float]] = defaultdict(list)
        self._searched = 0
        for number in range(-WARM_UP, QUESTIONS):
            asked = question()
            for url in urls:
                begun = time.perf_counter()
                arrived = await ask(url, asked)
                if number >= 0:
                    taken[url].append(1000 * (arrived - begun))
                await asyncio.sleep(READ_SECONDS)
        direct, through = (sorted(taken[url]) for url in urls)
        self.results[f"{name}_direct_p50_ms"] = statistics.median(direct)
        self.results[f"{name}_p50_ms"] = statistics.median(through)
        self.results[f"{name}_adds_p50_ms"] = statistics.median(through) - statistics.median(direct)
        self.results[f"{name}_p95_ms"] = through[int(0.95 * QUESTIONS)]
        if self._searched:
            self.results[f"{name}_searched"] = self._searched / (QUESTIONS + WARM_UP)


_HEADERS = {"X-Memsched-Cube": CUBE, "X-Memsched-Session": "benchmark"}


def _body(question: str) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": question}], "user": USER}


@asynccontextmanager
async def _model() -> AsyncIterator[str]:
    """A stand-in for a model's server, which answers at once, or in two pieces with a pause between them."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                asked = await reader.readexactly(int(length[1]) if length else 0)
                if b'"stream"' not in asked:
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                    writer.write(b"content-length: %d\r\n\r\n%b" % (len(_ANSWER), _ANSWER))
                    continue
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                writer.write(b"%x\r\n%b\r\n" % (len(_PIECE), _PIECE))
                await asyncio.sleep(PAUSE_SECONDS)
                writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(_DONE), _DONE))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


@contextmanager
def service_process(folder: Path, variables: dict[str, str]) -> Iterator[tuple[str, int]]:
    """``memsched serve`` on the servers in a folder; its address and process id, once it is ready."""
    log = folder / "serve.log"
    environment = {
        **os.environ,
        "MEMSCHED_REDIS_URL": f"embedded://{folder}",
        **variables,
        "MEMSCHED_LISTEN": "127.0.0.1:0",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "memsched", "serve"], stdout=output, stderr=output, env=environment
        )
    try:
        while not (found := re.search(r"serving at (http://\S+)", log.read_text(encoding="utf-8"))):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        while httpx.get(f"{found[1]}/readyz").status_code != httpx.codes.OK:
            time.sleep(0.05)
        yield found[1], process.pid
    finally:
        process.terminate()
        process.wait(30)
