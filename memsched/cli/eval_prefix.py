"""`memsched eval prefix`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from memsched.cli.eval_options import Answer, Stream
from memsched.cli.eval_scheduler import measured
from memsched.console.output import as_text, console, new_table
from memsched.evaluation.locomo import read_conversations
from memsched.evaluation.prefix import OWN, Reuse, compare_prefixes
from memsched.evaluation.replay import Progress
from memsched.scheduler import AsyncMemScheduler


def prefix(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Conversations in the form of LoCoMo (JSON)."),
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Also write the numbers here, as one flat object.")
    ] = None,
    conversations: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N conversations.")
    ] = None,
    stream: Annotated[list[Stream] | None, typer.Option(help="When questions are asked; default: soon.")] = None,
    answers: Annotated[Answer, typer.Option(help="Whether the right answers are told.")] = Answer.GOLD,
) -> None:
    """Compare ways to keep the activation block, the text at the head of the prompt.

    Conversations go through the real pipeline turn by turn. Looked at is how much of a prompt's block a model server's
    prefix cache would know from the prompt before, if each message leads to a prompt, or if questions alone do; and how
    much of a question's evidence the block holds before the question is seen. Everything runs on servers of its own in
    a temporary folder.
    """
    chosen, streams = read_conversations(file)[:conversations], stream or [Stream.SOON]

    async def measure(scheduler: AsyncMemScheduler, progress: Progress) -> dict[str, dict[str, Reuse]]:
        return {
            each.value: await compare_prefixes(scheduler, chosen, each.value, answers.value, progress)
            for each in streams
        }

    found = measured(measure, len(streams) * sum(len(each.questions) for each in chosen))
    _print(found, answers.value)
    if json_file is not None:
        flat = {
            f"{each}_{name}_{what}": value
            for each, table in found.items()
            for name, reuse in table.items()
            for what, value in reuse.as_flat().items()
        }
        json_file.write_text(json.dumps(flat, indent=2) + "\n", encoding="utf-8")


def _print(found: Mapping[str, Mapping[str, Reuse]], answers: str) -> None:
    table = new_table()
    table.add_column("block")
    titles: Sequence[str] = ("% reused", "% anew", "% reused by\nquestions", "% evidence", "memories")
    for stream in found:
        for title in titles:
            table.add_column(f"{stream}\n{title}", justify="right")
    for name in next(iter(found.values())):
        cells = [f"{value:.1f}" for reuse in found.values() for value in reuse[name].as_flat().values()]
        table.add_row(*(as_text(cell, "bold" if name == OWN else "") for cell in [name, *cells]))
    console().print(table)
    console().print(f"answers: {answers}", style="dim")
