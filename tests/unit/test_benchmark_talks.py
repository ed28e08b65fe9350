"""The talks that recall is measured on in other languages (benchmarks/data)."""

from __future__ import annotations

from pathlib import Path

import pytest

from memsched.evaluation.locomo import read_conversations

DATA = Path(__file__).parents[2] / "benchmarks" / "data"


@pytest.mark.parametrize("language", ["de", "es", "zh"])
def test_a_language_has_short_talks_and_questions_whose_turns_are_known(language: str) -> None:
    talks = read_conversations(DATA / f"talks_{language}.json")
    assert sum(len(talk.questions) for talk in talks) >= 60
    assert all(30 <= talk.turns <= 60 and not talk.without_evidence for talk in talks)
    assert all(len({turn.speaker for session in talk.sessions for turn in session.turns}) == 2 for talk in talks)
