"""The rows of a data set as tokens, with what of them is learnt."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

IGNORED = -100
"""The label of a token that is not learnt, as torch's loss has it."""


@dataclass(frozen=True, slots=True)
class Example:
    """One chat.

    Args:
        prompt: what is given. answer: what is learnt; of a text that nobody asked for, all of it.
        is_other: whether it is only not to be forgotten.
    """

    prompt: list[int]
    answer: list[int]
    text: str
    is_other: bool = False


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of one JSONL file. A line ends with a line feed, and with nothing else that may stand in a text."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def examples(rows: Sequence[dict[str, Any]], tokenizer: Any, most: int) -> list[Example]:
    """The rows as this model's tokens, by its own chat template."""
    return [_example(row, tokenizer, most) for row in rows]


def _example(row: dict[str, Any], tokenizer: Any, most: int) -> Example:
    *before, last = row["messages"]
    end = [tokenizer.eos_token_id]
    if before:
        prompt = tokenizer.apply_chat_template(before, add_generation_prompt=True, tokenize=False)
        given = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    else:
        given = end[:]  # a text of its own begins where another one ended
    said = tokenizer(last["content"], add_special_tokens=False)["input_ids"]
    return Example(
        given[-most:], (said + end)[: max(1, most - len(given))], last["content"], row.get("part") == "replay"
    )


def batches(found: Sequence[Example], size: int, pad: int) -> Iterator[dict[str, torch.Tensor]]:
    """What a model is called with, in this order; what is not learnt has no label."""
    for at in range(0, len(found), size):
        part = found[at : at + size]
        longest = max(len(each.prompt) + len(each.answer) for each in part)
        ids, labels, mask = [], [], []
        for each in part:
            whole, left = each.prompt + each.answer, longest - len(each.prompt) - len(each.answer)
            ids.append(whole + [pad] * left)
            labels.append([IGNORED] * len(each.prompt) + each.answer + [IGNORED] * left)
            mask.append([1] * len(whole) + [0] * left)
        yield {
            "input_ids": torch.tensor(ids),
            "labels": torch.tensor(labels),
            "attention_mask": torch.tensor(mask),
            "is_other": torch.tensor([each.is_other for each in part]),
        }
