"""``python -m benchmarks WHAT [--json FILE]``: transport, memory, policy, fairness, what the Lua scripts cost, what the
activation block is worth on a real model server (activation), what search finds (recall), what each part of it gives
(ablation), what is decided about memories (decisions), small cubes in several languages (languages), what the score of
a result says (scores), what adapters learn and harm (parameters), what memories and cubes cost in each part (growth),
and what the service takes (service), and to be looked at (dashboard).
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table

from benchmarks.targets import Results, Target
from memsched.process import run_loop


class Benchmark(Protocol):
    """Its steps in order; ``run`` fills in the results."""

    STEPS: tuple[str, ...]

    def __init__(self, results: Results, **data: Any) -> None: ...

    async def run(self, only: list[str]) -> None: ...


BENCHMARKS = {
    "transport": "TransportBenchmark",
    "memory": "MemoryBenchmark",
    "policy": "PolicyBenchmark",
    "activation": "ActivationBenchmark",
    "scripts": "ScriptsBenchmark",
    "fairness": "FairnessBenchmark",
    "tenants": "TenantsBenchmark",
    "growth": "GrowthBenchmark",
    "recall": "RecallBenchmark",
    "ablation": "AblationBenchmark",
    "decisions": "DecisionsBenchmark",
    "imports": "ImportsBenchmark",
    "languages": "LanguagesBenchmark",
    "parameters": "ParametersBenchmark",
    "scores": "ScoresBenchmark",
    "service": "ServiceBenchmark",
    "dashboard": "DashboardBenchmark",
}
"""Which class in the module of that name. Only the one that runs is imported: the other may load much."""
WITH_DATA = ("recall", "ablation", "decisions", "languages", "scores")
WITH_A_PART_ASIDE = ("decisions", "languages", "scores")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", choices=list(BENCHMARKS), help="which benchmark")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file, as one flat object")
    parser.add_argument("--markdown", type=Path, help="also write them to this file, as a table for the documentation")
    parser.add_argument("--only", default="", help="comma-separated steps, in place of all of them")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        help="for recall and ablation: conversations in the form of LoCoMo, stories; for decisions: cases",
    )
    parser.add_argument("--where", choices=["aside", "tuned"], help="for decisions, languages, scores: only this part")
    arguments = parser.parse_args()
    only = [step for step in arguments.only.split(",") if step]
    module = import_module(f"benchmarks.{arguments.what}")
    benchmark: type[Benchmark] = getattr(module, BENCHMARKS[arguments.what])
    if unknown := set(only) - set(benchmark.STEPS):
        parser.error(f"no such steps: {', '.join(sorted(unknown))}; there are {', '.join(benchmark.STEPS)}")
    if arguments.data and arguments.what not in WITH_DATA:
        parser.error(f"--data is for {' and '.join(WITH_DATA)}")
    if arguments.what == "decisions" and not arguments.data:
        parser.error("decisions needs cases: --data tests/data/decisions/*.jsonl")
    if arguments.where and arguments.what not in WITH_A_PART_ASIDE:
        parser.error(f"--where is for {' and '.join(WITH_A_PART_ASIDE)}")
    data = {"data": arguments.data} if arguments.data else {}
    data |= {"where": arguments.where} if arguments.where else {}
    results: Results = {}
    run_loop(lambda: benchmark(results, **data).run(only))
    print_table(arguments.what, results, module.TARGETS)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if arguments.markdown:
        own = getattr(module, "markdown", None)
        text = own(results) if own else markdown_of(results, module.TARGETS)
        arguments.markdown.write_text(text, encoding="utf-8")


def markdown_of(results: Results, targets: dict[str, Target]) -> str:
    """The same as ``print_table``."""
    lines = ["| measured | value | to reach | |", "|---|---:|---|---|"]
    for name, value in results.items():
        said, reached = targets[name](results) if name in targets else ("", None)
        mark = "" if reached is None else "yes" if reached else "no"
        lines.append(f"| {name} | {_shown(value)} | {said} | {mark} |")
    return "\n".join(lines) + "\n"


def _shown(value: float) -> str:
    return f"{value:,.3f}" if value < 100 else f"{value:,.0f}"


def print_table(what: str, results: Results, targets: dict[str, Target]) -> None:
    """Each number with its unit, and beside it what it is to reach and whether it does."""
    table = Table(title=f"memsched {what}", title_justify="left")
    for title in ("measured", "value", "to reach", ""):
        table.add_column(title, justify="right" if title == "value" else "left")
    for name, value in results.items():
        target = targets.get(name)
        said, reached = target(results) if target else ("", None)
        mark = "" if reached is None else "yes" if reached else "NO"
        table.add_row(name, _shown(value), said, mark)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
