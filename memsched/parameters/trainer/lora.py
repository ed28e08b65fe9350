"""Training: a LoRA adapter beside a model that stays as it is, with checkpoints to go on from."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer

from memsched.parameters.trainer.measure import scored
from memsched.parameters.trainer.recipe import Recipe
from memsched.parameters.trainer.rows import IGNORED, Example, batches

_CHECKPOINT = "checkpoint.pt"
_RISES_OVER = 20
_LEAST_RATE = 0.05
"""Of the highest one, at the end."""


def opened(recipe: Recipe) -> tuple[Any, Any]:
    """The model with an adapter that changes nothing yet, and its tokenizer."""
    torch.manual_seed(recipe.seed)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    tokenizer = AutoTokenizer.from_pretrained(recipe.base)
    model = AutoModelForCausalLM.from_pretrained(recipe.base, dtype=torch.float32)
    config = LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return get_peft_model(model, config).to(device), tokenizer


def train(model: Any, found: Sequence[Example], recipe: Recipe, pad: int, folder: Path) -> None:
    """Train, from the last checkpoint in the folder on, if there is one."""
    size = math.ceil(len(found) / recipe.batch)
    steps = size * recipe.epochs
    weights = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=0.0)
    done = _resumed(model, optimizer, folder)
    print(f"{len(found)} examples, {steps} steps, {done} of them done before", flush=True)  # noqa: T201
    saved = time.monotonic()
    for epoch in range(done // size, recipe.epochs):
        order, losses = list(found), list[float]()
        random.Random(f"{recipe.seed} {epoch}").shuffle(order)  # the same for whoever goes on
        for at, batch in enumerate(batches(order, recipe.batch, pad)):
            if epoch * size + at < done:
                continue
            rate = recipe.rate * _share(epoch * size + at, steps)
            losses.append(_step(model, optimizer, weights, batch, rate, recipe.weight))
            if time.monotonic() - saved > recipe.save_seconds:
                _save(model, optimizer, epoch * size + at + 1, folder)
                saved = time.monotonic()
        print(f"epoch {epoch + 1} of {recipe.epochs}: loss {sum(losses) / len(losses):.4f}", flush=True)  # noqa: T201


def _step(
    model: Any, optimizer: Any, weights: list[Any], batch: dict[str, torch.Tensor], rate: float, weight: float
) -> float:
    """One step; the loss on answers, and a part of that on other texts: of these there are more tokens."""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = rate
    labels, losses = scored(model, batch)
    learnt, other = labels != IGNORED, batch["is_other"].to(model.device)[:, None]
    loss = _mean(losses, learnt & ~other) + weight * _mean(losses, learnt & other)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()
    return float(loss.detach())


def _mean(losses: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    return (losses * of).sum() / of.sum().clamp(min=1)


def _share(step: int, steps: int) -> float:
    """Of the highest rate."""
    rise = max(1, steps // _RISES_OVER)
    if step < rise:
        return (step + 1) / rise
    turn = math.cos(math.pi * (step - rise) / max(1, steps - rise))
    return _LEAST_RATE + (1 - _LEAST_RATE) * (1 + turn) / 2


def _save(model: Any, optimizer: Any, step: int, folder: Path) -> None:
    """Whole or not at all: a kill in the middle leaves the one before."""
    state = {"step": step, "weights": get_peft_model_state_dict(model), "optimizer": optimizer.state_dict()}
    torch.save(state, folder / f"{_CHECKPOINT}.part")
    os.replace(folder / f"{_CHECKPOINT}.part", folder / _CHECKPOINT)


def _resumed(model: Any, optimizer: Any, folder: Path) -> int:
    """The steps that were done."""
    path = folder / _CHECKPOINT
    if not path.exists():
        return 0
    state = torch.load(path, map_location=model.device, weights_only=True)
    set_peft_model_state_dict(model, state["weights"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def remove_checkpoint(folder: Path) -> None:
    (folder / _CHECKPOINT).unlink(missing_ok=True)
