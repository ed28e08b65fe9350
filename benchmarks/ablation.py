"""What each part of search gives: recall on conversations in the form of LoCoMo with one part left out at a time.

The product is measured as it is. A part is left out by replacing what it is made of in this process: candidates, scores
and order are those of a search without it. For some parts all turns are told anew.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

from benchmarks.targets import Results, Target
from memsched import AsyncMemScheduler, Settings
from memsched.embedded.teardown import end_servers
from memsched.evaluation.locomo import read_conversations
from memsched.evaluation.replay import CUBE, as_message
from memsched.logs import configure_logs
from memsched.memory.search import dates, hybrid, window
from memsched.memory.search.dates import Dates

DEPTHS = (5, 10, 20)
_DEPTH_OF_MULTI_HOP = 10
TARGETS: dict[str, Target] = {}
_PATIENCE = 300.0
_Patches = Sequence[tuple[Any, str, Any]]


@dataclass(frozen=True)
class Row:
    """One way to search.

    Args:
        said: what is left out, for the table.
        asked: what is replaced while questions are asked: of what, which name, by what.
        told: the same while turns are told.
        search_args: of each search.
    """

    said: str
    asked: _Patches = ()
    told: _Patches = ()
    search_args: Mapping[str, Any] = field(default_factory=dict)


_NEVER = (Dates, "stretches", lambda self: iter(()))
_NO_DENSE = ((hybrid, "DENSE_OF_HASHING", 0.0), (hybrid, "DENSE_OF_A_MODEL", 0.0))

ROWS = {
    "nothing": Row("nothing"),
    "window": Row("window", search_args={"neighbours": False}),
    "window_of_1": Row("window of 1", told=[(window, "FADE", (1.0, 0.75, 0.0, 0.0))]),
    "window_of_2": Row("window of 2", told=[(window, "FADE", (1.0, 0.75, 0.5, 0.0))]),
    "answers": Row("an answer has its question's words", told=[(window, "QUESTION_MARKS", ())]),
    "value": Row("content value", [(hybrid, "VALUE", 0.0)]),
    "speaker": Row("speaker", [(hybrid, "SPEAKER", 0.0)]),
    "time": Row("time", [_NEVER, (Dates, "score", lambda self, at_ms: 0.0)]),
    "month": Row("month", [(dates, "MONTH", 0.0)]),
    "day": Row("day", [(dates, "DAY", 0.0)]),
    "in_time": Row("query in the time asked for", [_NEVER]),
    "dense": Row("dense, where a word is unknown", _NO_DENSE),
    "spread": Row("spread", [(hybrid, "asks_for_several", lambda question: False)]),
}
"""In the order in which they run: those that are told the same one after another."""


class AblationBenchmark:
    """All rows in order.

    Args:
        data: files of conversations in the form of LoCoMo.
    """

    STEPS: tuple[str, ...] = tuple(ROWS)

    def __init__(self, results: Results, data: Sequence[Path] = ()) -> None:
        self.results = results
        self._talks = [talk for each in data for talk in read_conversations(each)]
        self._told: set[str] = set()

    async def run(self, only: list[str]) -> None:
        """Measure the rows; fills in the flat results."""
        folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
        settings = Settings.load(redis_url=f"embedded://{folder}", qdrant_url="", memory=True, log_level="error")
        configure_logs(settings)
        self._scheduler = AsyncMemScheduler(settings)
        await self._scheduler.start()
        try:
            for name in only or self.STEPS:
                print(f"{name} ...", file=sys.stderr, flush=True)
                await self._measure(name, ROWS[name])
        finally:
            await self._scheduler.stop()
            end_servers(folder)
            shutil.rmtree(folder, ignore_errors=True)

    async def _measure(self, name: str, row: Row) -> None:
        stored = name if row.told else ""
        if stored not in self._told:
            self._told.add(stored)
            with _replaced(row.told):
                await self._tell(stored)
        shares: dict[str, list[float]] = defaultdict(list)
        with _replaced(row.asked):
            for talk in self._talks:
                for question in talk.questions:
                    results = await self._scheduler.retriever.search(
                        question.text,
                        f"{stored} {talk.name}",
                        CUBE,
                        top_k=max(DEPTHS),
                        search_args=row.search_args,
                    )
                    sources = [set(result.item.sources.values()) for result in results]
                    for depth in DEPTHS:
                        told = set[str]().union(*sources[:depth])
                        share = len(question.evidence & told) / len(question.evidence)
                        shares[f"recall_at_{depth}"].append(share)
                        if depth == _DEPTH_OF_MULTI_HOP and question.category == "multi_hop":
                            shares[f"multi_hop_recall_at_{depth}"].append(share)
        self.results |= {f"{name}_{what}": round(fmean(each), 4) for what, each in shares.items()}

    async def _tell(self, stored: str) -> None:
        for talk in self._talks:
            user = f"{stored} {talk.name}"
            await self._scheduler.submit_messages([as_message(session, user) for session in talk.sessions])
            await self._scheduler.wait(user_id=user, timeout=_PATIENCE)


def markdown(results: Results) -> str:
    """A row for each part that is left out."""
    lines = ["| left out | @5 / 10 / 20 | multi-hop @10 |", "|---|---|---|"]
    for name, row in ROWS.items():
        if f"{name}_recall_at_10" in results:
            all_of_it = " / ".join(f"{100 * results[f'{name}_recall_at_{depth}']:.1f}" for depth in DEPTHS)
            lines.append(f"| {row.said} | {all_of_it} | {100 * results[f'{name}_multi_hop_recall_at_10']:.1f} |")
    return "\n".join(lines) + "\n"


@contextmanager
def _replaced(patches: _Patches) -> Iterator[None]:
    with ExitStack() as stack:
        for holder, name, by in patches:
            stack.enter_context(patch.object(holder, name, by))
        yield
