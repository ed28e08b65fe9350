"""Whether two sentences are kept once or twice, on cases with the right answer.

A case is a line of JSON: ``id``, ``lang``, ``form``, ``label`` (``same`` or ``different``), ``a`` and ``b``, and, for
short answers, ``a_asked`` and ``b_asked``: what the assistant had asked. Each is told to a cube of its own, ``a``
first, and the cube is organized then. *Lost*: of two different sentences only one is left. *Merged*: of two that say
the same.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.aside import is_aside
from memsched import AsyncMemScheduler, ScheduleMessageItem, Settings
from memsched.embedded.teardown import end_servers
from memsched.logs import configure_logs
from memsched.memory.access.permissions import CubeRef
from memsched.memory.store.conditions import Conditions
from memsched.messages import ADD_TASK_LABEL, MEM_ORGANIZE_TASK_LABEL

_BEGUN = datetime(2026, 3, 2, 9, tzinfo=UTC)
_PATIENCE = 300.0
_MEMORIES = 20


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sentences of one user, and whether a reader takes them for one."""

    id: str
    lang: str
    form: str
    label: str
    a: str
    b: str
    a_asked: str = ""
    b_asked: str = ""

    @property
    def is_aside(self) -> bool:
        return is_aside(self.id)


@dataclass(frozen=True, slots=True)
class Kept:
    """How many of a pair's two sentences are left."""

    pair: Pair
    memories: int


def read_pairs(file: Path) -> list[Pair]:
    return [Pair(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


async def by_product(pairs: Sequence[Pair]) -> list[Kept]:
    """What a scheduler on the embedded default makes of them."""
    folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
    settings = Settings.load(redis_url=f"embedded://{folder}", qdrant_url="", memory=True, log_level="error")
    configure_logs(settings)
    try:
        async with AsyncMemScheduler(settings) as scheduler:
            await scheduler.start()
            for number, (said, asked) in enumerate((("a", "a_asked"), ("b", "b_asked"))):
                for pair in pairs:
                    turns = [{"role": "assistant", "content": getattr(pair, asked)}] if getattr(pair, asked) else []
                    turns.append({"role": "user", "content": getattr(pair, said)})
                    at = _BEGUN + timedelta(hours=number)
                    await scheduler.submit_messages(_item(pair, ADD_TASK_LABEL, at, chat_history=turns))
                await scheduler.wait(timeout=_PATIENCE)
            for pair in pairs:
                await scheduler.submit_messages(_item(pair, MEM_ORGANIZE_TASK_LABEL, _BEGUN + timedelta(days=1)))
            await scheduler.wait(timeout=_PATIENCE)
            store = (await scheduler.memory()).store
            kept = []
            for pair in pairs:
                there = await store.newest(CubeRef(pair.id, pair.id), _MEMORIES, Conditions())
                kept.append(Kept(pair, sum(each.speaker != "assistant" for each in there)))
            return kept
    finally:
        end_servers(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _item(pair: Pair, label: str, at: datetime, **fields: Any) -> ScheduleMessageItem:
    return ScheduleMessageItem(user_id=pair.id, mem_cube_id=pair.id, label=label, content="", timestamp=at, **fields)


def figures(kept: Sequence[Kept]) -> dict[str, float]:
    """The sums: how many different ones were lost, and how many that say the same were merged."""
    different = [each for each in kept if each.pair.label == "different"]
    same = [each for each in kept if each.pair.label == "same"]
    return {
        "different": len(different),
        "lost": sum(each.memories < 2 for each in different),
        "same": len(same),
        "merged": sum(each.memories == 1 for each in same),
    }


def table(kept: Sequence[Kept]) -> str:
    """A row for each form: lost or merged, of how many, with each language in a column."""
    languages = sorted({each.pair.lang for each in kept})
    lines = [f"| form | counted | all | {' | '.join(languages)} |", f"|---|---|{'---:|' * (1 + len(languages))}"]
    for label, name in (("different", "lost"), ("same", "merged")):
        of_label = [each for each in kept if each.pair.label == label]
        for form in [*sorted({each.pair.form for each in of_label}), "all"]:
            some = [each for each in of_label if form in ("all", each.pair.form)]
            one = Counter(each.pair.lang for each in some if each.memories == 1)
            of = Counter(each.pair.lang for each in some)
            cells = [f"{one[lang]}/{of[lang]}" if of[lang] else "" for lang in languages]
            lines.append(f"| {form} | {name} | {one.total()}/{len(some)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
