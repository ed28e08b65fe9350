"""Small cubes in other languages than English: the right fact comes first, and what nothing fits finds nothing."""

from __future__ import annotations

import pytest

from benchmarks.languages import TARGETS, LanguagesBenchmark
from benchmarks.targets import Results

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]


@pytest.mark.long
async def test_the_right_fact_comes_first_in_each_language() -> None:
    results: Results = {}

    await LanguagesBenchmark(results).run([])

    for name, target in TARGETS.items():
        assert results[name] >= 0.85, f"{name}: the benchmark's target is {target}"
        language = name.partition("_")[0]
        assert results[f"{language}_told_at_0.5"] >= 0.7
        assert results[f"{language}_told_elsewhere_at_0.5"] <= 0.25
