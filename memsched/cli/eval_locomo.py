"""`memsched eval locomo`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from memsched.cli.eval_options import Answer, Stream
from memsched.cli.eval_scheduler import measured
from memsched.console.output import as_text, console, new_table
from memsched.evaluation.locomo import CATEGORIES, read_conversations
from memsched.evaluation.prediction import ABLATIONS, HEEDING, OWN, POLICIES, TYPING, predict
from memsched.evaluation.replay import Progress as ReplayProgress
from memsched.evaluation.replay import Scores, replay
from memsched.plurals import counted
from memsched.scheduler import AsyncMemScheduler

_Tables = Mapping[str, dict[str, float]]
"""By stream, figures by name."""
_SAID_OF = {Answer.GOLD: "right answers told", Answer.NONE: "questions only"}


def locomo(
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
    captions: Annotated[
        bool, typer.Option("--captions", help="Tell the captions of pictures too. Usual figures leave them out.")
    ] = False,
    stream: Annotated[
        list[Stream] | None,
        typer.Option(help="Ask while the conversation goes on, and compare what is near before each question."),
    ] = None,
    answers: Annotated[
        list[Answer] | None,
        typer.Option(help="With --stream: whether the right answers are told (gold), or questions only. May be both."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"With --stream: only these of {', '.join((*POLICIES, *TYPING))}."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="With --stream: print the table as Markdown.")] = False,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="With --stream: also without each feature and mode in turn.")
    ] = False,
) -> None:
    """Replay conversations through the real pipeline, then ask their questions.

    With --stream the questions come in between, and the table shows how much of their evidence each policy has near
    before it sees them.

    Everything runs on servers of its own in a temporary folder. The embedding model and the other settings are those
    of the environment; without MEMSCHED_LLM_MODEL no language model is called.
    """

    if not stream and (policy or answers or ablate or markdown):
        raise typer.BadParameter("only with --stream", param_hint="--policy, --answers, --ablate, --markdown")
    policies = [*(policy or POLICIES), *(ABLATIONS if ablate else ())]
    told = list(dict.fromkeys(answers or [Answer.GOLD]))
    if unknown := set(policies) - {*POLICIES, *TYPING, *ABLATIONS}:
        raise typer.BadParameter(
            f"there is no {', '.join(sorted(unknown))}; there are {', '.join((*POLICIES, *TYPING))}",
            param_hint="--policy",
        )
    chosen = read_conversations(file, captions=captions)[:conversations]

    async def replayed(scheduler: AsyncMemScheduler, progress: ReplayProgress) -> Scores:
        return await replay(scheduler, chosen, progress)

    async def compared(scheduler: AsyncMemScheduler, progress: ReplayProgress) -> tuple[_Tables, _Tables]:
        tables: _Tables = {each.value: {} for each in stream or ()}
        typing: _Tables = {name: {} for name in tables}
        for name, table in tables.items():
            for kind in told:  # of policies that heed the answers, the second kind stands under another name
                heeding, mark = (policies, "") if kind == told[0] else (HEEDING, f" ({_SAID_OF[kind]})")
                chosen_ones = [each for each in policies if each in heeding]
                found = await predict(scheduler, chosen, name, kind.value, chosen_ones, progress)
                table |= {f"{each}{mark}": share for each, share in found.means().items()}
                typing[name] |= {f"{each}{mark}": figure for each, figure in found.typing().items()}
        return tables, typing

    asked = sum(len(each.questions) for each in chosen)
    if stream:
        tables, typing = measured(compared, len(stream) * len(told) * asked)
        flat = {
            f"{name}_{what}": figure for name in tables for what, figure in {**tables[name], **typing[name]}.items()
        }
        _print_compared("% of evidence near", tables, markdown=markdown)
        if any(typing.values()):
            _print_compared("half of the question typed, %", typing, markdown=markdown)
        if not markdown:
            console().print(f"answers: {_SAID_OF[told[0]]}", style="dim")
    else:
        flat = measured(replayed, asked + sum(each.turns for each in chosen)).as_flat()
        _print(flat, len(chosen))
    if json_file is not None:
        json_file.write_text(json.dumps(flat, indent=2) + "\n", encoding="utf-8")


def _print_compared(title: str, tables: _Tables, *, markdown: bool) -> None:
    names = (title, *tables)
    what = dict.fromkeys(each for figures in tables.values() for each in figures)
    rows = [[each, *(f"{figures[each]:.1f}" for figures in tables.values())] for each in what]
    if markdown:
        for row in (names, ["---", *("---:" for _ in tables)], *rows, ()):
            console().print(f"| {' | '.join(row)} |" if row else "")
        return
    table = new_table()
    for name in names:
        table.add_column(name, justify="left" if name == names[0] else "right")
    for row in rows:
        table.add_row(*(as_text(cell, "bold" if row[0].startswith(OWN) else "") for cell in row))
    console().print(table)


def _print(flat: dict[str, float], conversations: int) -> None:

    table = new_table()
    table.add_column("questions")
    for title in ("", "recall@5", "recall@10", "recall@20", "hit@20"):
        table.add_column(title, justify="right")
    for category in (*CATEGORIES.values(), "other", ""):
        suffix = f"_{category}" if category else ""
        if f"questions{suffix}" not in flat:
            continue
        style = "" if category else "bold"
        shares = [
            f"{100 * flat[f'{name}{suffix}']:.1f} %"
            for name in ("recall_at_5", "recall_at_10", "recall_at_20", "hit_at_20")
        ]
        row = [category.replace("_", " ") or "all", f"{flat[f'questions{suffix}']:,.0f}", *shares]
        table.add_row(*(as_text(cell, style) for cell in row))
    console().print(table)
    times = new_table()
    times.add_column("step")
    for title in ("mean", "p50"):
        times.add_column(title, justify="right")
    steps = {
        "submit": "submit a conversation",
        "add": "store a turn, set ready",
        "working_set": "read the working set",
        "search": "search",
        "query_to_ready": "question to new working set",
    }
    for step, said in steps.items():
        if f"{step}_mean_ms" in flat:
            cells = (said, f"{flat[f'{step}_mean_ms']:,.2f} ms", f"{flat[f'{step}_p50_ms']:,.2f} ms")
            times.add_row(*map(as_text, cells))
    console().print(times)
    console().print(
        f"{counted(conversations, 'conversation')}, {flat['turns']:,.0f} turns; {flat['without_evidence']:,.0f} "
        f"questions without evidence left out; {flat['ingest_turns_per_s']:,.0f} turns/s, "
        f"{flat['messages_per_s']:,.0f} messages/s",
        highlight=False,
    )
