"""Adapters on a model made on the spot: what a recipe learns of 50 templates, what it harms, and what the gate says.

``python -m benchmarks parameters`` trains by two recipes: memsched's own, and one without other texts. It needs the
extra ``train``, and takes some ten minutes of one core.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from benchmarks.targets import Results, Target
from benchmarks.tiny_texts import ABOUT, KIND, other_texts, sentence
from memsched.llm.client import LLM
from memsched.llm.servers.base import CacheHint, Caching, Step
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory, memory_id_for
from memsched.parameters import dataset
from memsched.parameters.folders import AdapterFolder
from memsched.parameters.forms import asked_for
from memsched.parameters.gate import Figures, why_refused
from memsched.parameters.record import Adapter
from memsched.parameters.registry import Registry
from memsched.parameters.training import train
from memsched.settings import Settings

_CUBE = CubeRef("benchmark", "templates")
RECIPES: dict[str, Sequence[str]] = {"usual": (), "hasty": ("--no-replay", "--rate", "1e-2", "--epochs", "15")}
TARGETS: dict[str, Target] = {
    "usual_passes": lambda results: ("= 1", results["usual_passes"] == 1),
    "hasty_passes": lambda results: ("= 0, for what it harms", results["hasty_passes"] == 0),
}


def templates(count: int, seed: int = 3) -> list[Memory]:
    """Texts under names, as a desk has them that answers customers."""
    chance = random.Random(seed)
    names = [f"{about} {chance.choice(KIND)}" for about in ABOUT]
    now = datetime(2026, 1, 5, tzinfo=UTC)
    found = []
    for name in sorted(chance.sample(names, count)):
        found.append(
            Memory(
                memory_id=memory_id_for(_CUBE, name),
                user_id=_CUBE.user_id,
                mem_cube_id=_CUBE.mem_cube_id,
                text=sentence(chance),
                at=now,
                created_at=now,
                updated_at=now,
                metadata={"kind": "template", "name": name},
            )
        )
    return found


def write_data(folder: AdapterFolder, memories: Sequence[Memory], others: Sequence[str]) -> None:
    """The data set of these, as an export writes it."""
    data = dataset.built([asked_for(each) for each in memories], [dataset.told_alone(each) for each in others])
    adapter = Adapter(adapter_id="trial", created_at=datetime.now(UTC))
    dataset.write(folder.data, data, adapter, {})


def train_by(options: Sequence[str], base: Path, folder: AdapterFolder, lock: Path) -> Figures:
    """Train on 50 templates by one recipe, as a worker does."""
    write_data(folder, templates(50), other_texts(600, seed=7))
    command = f"{sys.executable} -m memsched.parameters.trainer --base {base} --threads 1 {' '.join(options)}"
    return asyncio.run(train(command, folder, lock))


async def served(base: Path, folder: AdapterFolder, figures: Figures) -> dict[str, float]:
    """On llama.cpp's server: share of the held-out questions that are answered word for word, by the adapter, without
    it, with it again, and when it is rolled back.
    """
    settings = Settings.load(
        redis_url="memory://", llm_base_url=f"embedded://{base}", llm_model="base.gguf", llm_context_tokens=1024
    )
    rows = [json.loads(line) for line in (folder.data / "held_out.jsonl").read_text().splitlines()]
    llm = LLM(settings)
    registry = Registry(llm, llm.own_server)

    async def right(adapter: str | None) -> float:
        told = Caching(CacheHint("", "", "", adapter), Step.ONCE)
        said = [await llm.complete(row["messages"][:1], max_tokens=48, caching=told) for row in rows]
        texts = [row["messages"][1]["content"] for row in rows]
        same = [one.strip() == text for one, text in zip(said, texts, strict=True)]
        return same.count(True) / len(rows)

    try:
        await registry.load("trial", folder.made, figures)
        found = {"served": await right("trial"), "served_without": await right(None)}
        found["served_again"] = await right("trial")
        await registry.unload("trial")
        found["served_rolled_back"] = await right(None)
        return found
    finally:
        await llm.aclose()


class ParametersBenchmark:
    STEPS = ("base", *RECIPES)

    def __init__(self, results: Results) -> None:
        self._results = results

    async def run(self, only: list[str]) -> None:
        del only  # the recipes need the base
        await asyncio.to_thread(self._run)

    def _run(self) -> None:
        from benchmarks.tiny_base import make  # torch

        with tempfile.TemporaryDirectory(prefix="memsched-parameters-") as name:
            root = Path(name)
            self._results["base_loss"] = make(root / "base", beside=[each.text for each in templates(50)])
            for recipe, options in RECIPES.items():
                began = time.monotonic()
                figures = train_by(options, root / "base", AdapterFolder(root / recipe), root / "training.lock")
                for what in ("held_out", "answer_tokens", "harm", "controls_refused"):
                    self._results[f"{recipe}_{what}"] = getattr(figures, what)
                self._results[f"{recipe}_passes"] = float(not why_refused(figures))
                self._results[f"{recipe}_seconds"] = time.monotonic() - began
                if recipe == "usual" and find_spec("xllamacpp"):
                    self._results |= asyncio.run(served(root / "base", AdapterFolder(root / recipe), figures))
