"""`memsched eval stories`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from memsched.cli.eval_scheduler import measured
from memsched.console.output import as_text, console, new_table
from memsched.evaluation.replay import Progress
from memsched.evaluation.replay_stories import Near, StoryScores, as_flat, by_language, mean_of, replay_stories
from memsched.evaluation.stories import MOST_STREWN, read_stories, with_one_offs
from memsched.scheduler import AsyncMemScheduler


def stories(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Theme stories, one JSON file each.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Also write the means here, as one flat object.")
    ] = None,
    strewn: Annotated[
        int,
        typer.Option(
            min=0, max=MOST_STREWN, metavar="N", help="Strew in N messages about nothing that are as long as the rest."
        ),
    ] = 0,
) -> None:
    """Replay stories in which one theme takes over from another, then ask for help without naming one.

    Looked at is the first half of the working set, before and after the request: how much of it is about the theme
    that is hot (precision), how much of what is still open it holds (recall), how many of its ten memories are about a
    theme that is over, and how many about none. Everything runs on servers of its own in a temporary folder.
    """
    chosen = [with_one_offs(story, strewn) for story in read_stories(folder)]

    async def measure(scheduler: AsyncMemScheduler, progress: Progress) -> list[StoryScores]:
        return await replay_stories(scheduler, chosen, progress)

    scores = measured(measure, sum(len(story.lines) + 1 for story in chosen))
    _print(scores)
    if json_file is not None:
        json_file.write_text(json.dumps(as_flat(scores), indent=2) + "\n", encoding="utf-8")


def _print(scores: Sequence[StoryScores]) -> None:
    table = new_table()
    table.add_column("story")
    for when in ("before", "after"):
        for title in ("precision", "recall", "old", "chatter"):
            table.add_column(f"{title}\n{when}", justify="right")
    table.add_column("hottest\nright", justify="right")
    for each in scores:
        table.add_row(*_row(each.story.name, each.before, each.after, each.hottest, each.checks))
    table.add_section()
    groups = {**by_language(scores)}
    if len(traps := [each for each in scores if each.story.is_trap]) not in (0, len(scores)):
        groups["request shares words with an old theme"] = traps
        groups["it does not"] = [each for each in scores if not each.story.is_trap]
    for name, group in {**groups, "all": list(scores)}.items():
        table.add_row(*(as_text(cell, "bold") for cell in _row(name, *mean_of(group))))
    console().print(table)


def _row(name: str, before: Near, after: Near, right: int, checks: int) -> list[str]:
    cells = [name]
    for near in (before, after):
        cells += [
            f"{100 * near.precision:.0f} %",
            f"{100 * near.recall:.0f} %",
            f"{near.old:.1f}",
            f"{near.chatter:.1f}",
        ]
    return [*cells, f"{right} of {checks}"]
