"""Adapters on a model made on the spot: what a recipe learns of 50 templates, what it harms, and what the gate says.

``python -m benchmarks parameters`` trains by two recipes: memsched's own, and one without other texts. It needs the
extra ``train``, and takes some ten minutes of one core.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.tiny_texts import ABOUT, KIND, letter, other_texts
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory, memory_id_for
from memsched.parameters import dataset
from memsched.parameters.folders import AdapterFolder
from memsched.parameters.forms import asked_for
from memsched.parameters.gate import Figures, why_refused
from memsched.parameters.record import Adapter
from memsched.parameters.training import train

_CUBE = CubeRef("benchmark", "templates")
RECIPES = {
    "with other texts": (),
    "without other texts": ("--no-replay", "--rate", "1e-2", "--epochs", "30"),
}


@dataclass(frozen=True)
class Trial:
    """One recipe's outcome."""

    recipe: str
    figures: Figures
    reasons: Sequence[str]
    seconds: float


def templates(count: int, seed: int = 3) -> list[Memory]:
    """Templates as a desk that answers customers has them, each under a name of its own."""
    chance = random.Random(seed)
    names = [f"{about} {kind}" for about in ABOUT for kind in KIND]
    now = datetime(2026, 1, 5, tzinfo=UTC)
    found = []
    for name in sorted(chance.sample(names, count)):
        found.append(
            Memory(
                memory_id=memory_id_for(_CUBE, name),
                user_id=_CUBE.user_id,
                mem_cube_id=_CUBE.mem_cube_id,
                text=letter(chance),
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


async def trial(recipe: str, options: Sequence[str], base: Path, root: Path, python: str) -> Trial:
    """Train by one recipe, as a worker does."""
    folder = AdapterFolder(root / recipe.replace(" ", "-"))
    write_data(folder, templates(50), other_texts(600, seed=7))
    began = time.monotonic()
    command = f"{python} -m memsched.parameters.trainer --base {base} --threads 1 {' '.join(options)}"
    figures = await train(command, folder, root / "training.lock")
    return Trial(recipe, figures, why_refused(figures), time.monotonic() - began)


def run(python: str, *, steps: int = 300) -> dict[str, Any]:
    """Make the base, and try both recipes. Returns what is printed."""
    from benchmarks.tiny_base import make

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        base_loss = make(root / "base", steps=steps, beside=[each.text for each in templates(50)])
        trials = [asyncio.run(trial(name, more, root / "base", root, python)) for name, more in RECIPES.items()]
    return {
        "base_loss": base_loss,
        "trials": {
            each.recipe: {
                **each.figures.model_dump(exclude={"base", "weights", "gguf"}),
                "harm": each.figures.harm,
                "verdict": "; ".join(each.reasons) or "passes",
                "seconds": round(each.seconds),
            }
            for each in trials
        },
    }
