"""Small cubes in several languages: does the right fact come first, and does a question about nothing find nothing?

Each cube of ``tests/data/languages`` is told to a scheduler on the embedded default, without a model, a fact a message.
Each question is asked in its own cube, and in another one of the language, where nothing fits. A third of the questions
is kept aside while rules are made (``benchmarks/aside.py``). ``--data`` brings other files of the form. Another version
is measured on the same questions by this file itself:

    PYTHONPATH=ITS_CHECKOUT python benchmarks/languages.py
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any
from uuid import uuid4

from benchmarks.aside import is_aside
from benchmarks.targets import Results, Target, at_least
from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.messages import ADD_TASK_LABEL

LANGUAGES = ("zh", "de", "es", "ja", "en")
FILES = Path(__file__).parents[1] / "tests" / "data" / "languages"
LEAST_SCORES = (0.3, 0.5, 0.7)
TARGETS: dict[str, Target] = {
    f"{language}_first": at_least(f"{language}_first", share, "of the right facts")
    for language, share in (("zh", 0.8), ("de", 0.9), ("es", 0.9), ("ja", 0.9))
}
_BEGAN = datetime(2026, 3, 2, 9, tzinfo=UTC)
_PATIENCE = 120.0
_AMONG = 3
_CUBE = "home"


class LanguagesBenchmark:
    """A step a language.

    Args:
        data: files of other cubes, in place of the project's; the name begins with the language.
        where: ``aside`` or ``tuned``: only these questions.
    """

    STEPS = LANGUAGES

    def __init__(self, results: Results, data: Sequence[Path] = (), where: str = "") -> None:
        self.results = results
        self.missed: list[str] = []
        self._where = where
        self._files = list(data) or sorted(FILES.glob("*.json"))

    async def run(self, only: list[str]) -> None:
        """Run the steps for which there are data; fills in the flat results."""
        self.scheduler = AsyncMemScheduler(redis_url=f"memory://{uuid4()}", memory=True, log_level="error")
        await self.scheduler.start()
        try:
            for language in only or self.STEPS:
                files = [each for each in self._files if each.name.startswith(language)]
                if cubes := [cube for file in files for cube in json.loads(file.read_text("utf-8"))]:
                    await self._measure(language, cubes)
        finally:
            await self.scheduler.stop()

    async def _measure(self, language: str, cubes: Sequence[dict[str, Any]]) -> None:
        await tell_facts(self.scheduler, cubes)
        found: dict[str, list[bool]] = defaultdict(list)
        for number, cube in enumerate(cubes):
            for each in cube["told"]:
                if self._where and is_aside(each["id"]) != (self._where == "aside"):
                    continue
                texts = await self._found(each["question"], cube["id"])
                place = next((at for at, (text, _) in enumerate(texts) if text == each["text"]), _AMONG)
                found["first"].append(place == 0)
                found["among_3"].append(place < _AMONG)
                if place:
                    self.missed.append(f"{place + 1} {each['id']} {each['question']} | {each['text']} | {texts[:1]}")
                elsewhere = await self._found(each["question"], cubes[number - 1]["id"])
                for least in LEAST_SCORES:
                    fits = [score >= least for _, score in texts[:1]] or [False]
                    found[f"told_at_{least}"].append(fits[0])
                    found[f"told_elsewhere_at_{least}"].append(any(score >= least for _, score in elsewhere))
        self.results[f"{language}_questions"] = len(found["first"])
        self.results |= {f"{language}_{name}": round(fmean(hits), 3) for name, hits in found.items() if hits}

    async def _found(self, question: str, user_id: str) -> list[tuple[str, float]]:
        results = await self.scheduler.retriever.search(question, user_id, _CUBE, top_k=_AMONG)
        return [(result.memory, result.score) for result in results]


async def tell_facts(scheduler: AsyncMemScheduler, cubes: Sequence[dict[str, Any]]) -> None:
    """Each cube's facts, a message each, to a user of its id, and wait until they are remembered."""
    for cube in cubes:
        messages = [
            ScheduleMessageItem(
                user_id=cube["id"],
                mem_cube_id=_CUBE,
                label=ADD_TASK_LABEL,
                content=each["text"],
                timestamp=_BEGAN + timedelta(minutes=10 * number),
            )
            for number, each in enumerate(cube["told"])
        ]
        await scheduler.submit_messages(messages)
        await scheduler.wait(user_id=cube["id"], timeout=_PATIENCE)


def markdown(results: Results) -> str:
    """A row for each language: the right fact first, among three; and what is found where nothing fits."""
    lines = [
        "| language | questions | first | among 3 | "
        + " | ".join(f"own / others' at {least}" for least in LEAST_SCORES)
        + " |",
        f"|---|{'---:|' * (3 + len(LEAST_SCORES))}",
    ]
    for language in LANGUAGES:
        if f"{language}_questions" in results:
            told = [
                f"{100 * results[f'{language}_told_at_{least}']:.0f} / "
                f"{100 * results[f'{language}_told_elsewhere_at_{least}']:.0f}"
                for least in LEAST_SCORES
            ]
            first, among = (100 * results[f"{language}_{name}"] for name in ("first", "among_3"))
            cells = (f"{results[f'{language}_questions']:.0f}", f"{first:.0f}", f"{among:.0f}", *told)
            lines.append(f"| {language} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import asyncio

    benchmark = LanguagesBenchmark({}, [Path(each) for each in sys.argv[2:]], sys.argv[1] if sys.argv[1:] else "")
    asyncio.run(benchmark.run([]))
    print("\n".join(benchmark.missed), file=sys.stderr)
    print(markdown(benchmark.results))
