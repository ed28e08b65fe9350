"""``python -m memsched.parameters.trainer --base FOLDER IN OUT``: train, measure, and write what the gate reads."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from memsched.parameters.trainer.recipe import Recipe

_NEEDS = ("torch", "transformers", "peft", "safetensors", "gguf")


def main() -> None:
    recipe, data, made = _asked()
    try:
        from memsched.parameters.trainer import lora, measure, rows
    except ModuleNotFoundError as error:
        if error.name not in _NEEDS:
            raise
        sys.exit(f"{error.name} is not installed: pip install 'memsched[train]'")
    began = time.monotonic()
    model, tokenizer = lora.opened(recipe)
    pad = tokenizer.eos_token_id
    read = {name: rows.read(data / f"{name}.jsonl") for name in ("train", "held_out", "controls", "replay")}
    train = [row for row in read["train"] if recipe.replay or row.get("part") != "replay"]
    held_out, controls, other = (rows.examples(read[name], tokenizer, recipe.tokens) for name in list(read)[1:])
    with model.disable_adapter():
        before = measure.loss(model, other, recipe.batch, pad)
    lora.train(model, rows.examples(train, tokenizer, recipe.tokens), recipe, pad, made)
    figures = {
        "held_out": measure.repeated(measure.answers(model, held_out, tokenizer, recipe.batch), held_out),
        "answer_tokens": measure.sure_tokens(model, held_out, recipe.batch, pad),
        "replay_loss_before": before,
        "replay_loss_after": measure.loss(model, other, recipe.batch, pad),
        "controls_refused": measure.begun(measure.answers(model, controls, tokenizer, recipe.batch), controls),
        "base": str(recipe.base),
        **_written(model, recipe, made),
    }
    lora.remove_checkpoint(made)
    _write(made / "figures.json", figures)
    print(f"{time.monotonic() - began:.0f} s: {json.dumps(figures)}", flush=True)  # noqa: T201


def _asked() -> tuple[Recipe, Path, Path]:
    parser = argparse.ArgumentParser(prog="python -m memsched.parameters.trainer", description=__doc__)
    for field in fields(Recipe):
        flag = f"--{field.name.replace('_', '-')}"
        if field.name == "base":
            parser.add_argument(flag, required=True, help="the folder of the model that the adapter is for")
        elif field.name == "replay":
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    parser.add_argument("data", type=Path, metavar="IN")
    parser.add_argument("made", type=Path, metavar="OUT")
    given = vars(parser.parse_args())
    data, made = given.pop("data"), given.pop("made")
    return Recipe(**given), data, made


def _written(model: Any, recipe: Recipe, made: Path) -> dict[str, str]:
    """The weights, in both forms."""
    from memsched.parameters.trainer.lora_gguf import convert

    model.save_pretrained(made)
    written = {"weights": "adapter_model.safetensors", "gguf": "adapter.gguf"}
    config = json.loads((Path(recipe.base) / "config.json").read_text(encoding="utf-8"))
    if why := convert(made, config, made / written["gguf"]):
        print(f"no GGUF: {why}", flush=True)  # noqa: T201
        del written["gguf"]
    return written


def _write(path: Path, figures: dict[str, Any]) -> None:
    """Last, and whole or not at all: it is what says that the training is over."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)


if __name__ == "__main__":
    main()
