"""What a number is to reach, said in the table beside what was measured."""

from __future__ import annotations

from collections.abc import Callable

Results = dict[str, float]
Target = Callable[[Results], tuple[str, bool]]
"""What is to be reached, as words, and whether it is."""


def share(name: str, of: str, least: float) -> Target:
    def check(results: Results) -> tuple[str, bool]:
        ratio = results[name] / results[of] if results.get(of) else 0.0
        return f">= {least:.0%} of {of}: {ratio:.0%}", ratio >= least

    return check


def at_most(name: str, most: float, unit: str) -> Target:
    return lambda results: (f"<= {most:g} {unit}", results[name] <= most)


def at_least(name: str, least: float, unit: str) -> Target:
    return lambda results: (f">= {least:g} {unit}", results[name] >= least)
