"""``python -m benchmarks transport [--json FILE]``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.transport import TARGETS, TransportBenchmark
from memsched.process import run_loop


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", choices=["transport"], help="which benchmark")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file, as one flat object")
    parser.add_argument("--only", default="", help="comma-separated steps: " + ",".join(TransportBenchmark.STEPS))
    arguments = parser.parse_args()
    only = [step for step in arguments.only.split(",") if step]
    results: dict[str, float] = {}
    run_loop(lambda: TransportBenchmark(results).run(only))
    print_table(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def print_table(results: dict[str, float]) -> None:
    """Each number with its unit, and beside it what it is to reach and whether it does."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="memsched transport", title_justify="left")
    for title in ("measured", "value", "to reach", ""):
        table.add_column(title, justify="right" if title == "value" else "left")
    for name, value in results.items():
        target = TARGETS.get(name)
        said, reached = target(results) if target else ("", None)
        mark = "" if reached is None else "yes" if reached else "NO"
        table.add_row(name, f"{value:,.3f}" if value < 100 else f"{value:,.0f}", said, mark)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
