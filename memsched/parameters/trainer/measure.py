"""What the gate judges by: what is known of questions that were not trained, what is refused, and what was harmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from memsched.parameters.trainer.rows import IGNORED, Example, batches

_LONGEST_ANSWER = 512


def loss(model: Any, found: Sequence[Example], size: int, pad: int) -> float:
    """Mean loss per token that is learnt."""
    model.eval()
    total, count = 0.0, 0
    for batch in batches(found, size, pad):
        with torch.no_grad():
            labels, losses = scored(model, batch)
        total += float(losses.sum())
        count += int((labels != IGNORED).sum())
    return total / max(1, count)


def sure_tokens(model: Any, found: Sequence[Example], size: int, pad: int) -> float:
    """Share of the answers' tokens that have, given what comes before, a probability above one half."""
    model.eval()
    sure = count = 0
    for batch in batches(found, size, pad):
        with torch.no_grad():
            labels, losses = scored(model, batch)
        learnt = labels != IGNORED
        sure += int(((losses < 0.6931) & learnt).sum())  # -ln 0.5
        count += int(learnt.sum())
    return sure / max(1, count)


def answers(model: Any, found: Sequence[Example], tokenizer: Any, size: int) -> list[str]:
    """What the model says to each, greedily."""
    model.eval()
    said: list[str] = []
    for at in range(0, len(found), size):
        part = found[at : at + size]
        longest = max(len(each.prompt) for each in part)
        left = [longest - len(each.prompt) for each in part]
        given = [[tokenizer.eos_token_id] * pad + each.prompt for pad, each in zip(left, part, strict=True)]
        mask = [[0] * pad + [1] * len(each.prompt) for pad, each in zip(left, part, strict=True)]
        with torch.no_grad():
            out = model.generate(
                torch.tensor(given, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                max_new_tokens=min(_LONGEST_ANSWER, max(len(each.answer) for each in part) + 16),
                do_sample=False,
                pad_token_id=tokenizer.eos_token_id,
            )
        said += [each.strip() for each in tokenizer.batch_decode(out[:, longest:], skip_special_tokens=True)]
    return said


def repeated(said: Sequence[str], found: Sequence[Example]) -> float:
    """Share of the answers that are the text, word for word."""
    same = sum(_plain(one) == _plain(each.text) for one, each in zip(said, found, strict=True))
    return same / max(1, len(found))


def begun(said: Sequence[str], found: Sequence[Example]) -> float:
    """Share of the answers that begin with the text: a refusal may go on."""
    same = sum(_plain(one).startswith(_plain(each.text)) for one, each in zip(said, found, strict=True))
    return same / max(1, len(found))


def scored(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """What each token should be, and its loss (0 where nothing is learnt)."""
    batch = {name: each.to(model.device) for name, each in batch.items()}
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    losses = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), labels.reshape(-1), reduction="none", ignore_index=IGNORED
    )
    return labels, losses.reshape(labels.shape)


def _plain(text: str) -> str:
    return " ".join(text.split())
