"""What tells whether a result answers its question, and how probable that is."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memsched.lexicon import stem
from memsched.memory.search import likelihood as module
from memsched.memory.search.constants import DENSE_OF_A_MODEL
from memsched.memory.search.evidence import Evidence, Things
from memsched.memory.search.likelihood import Features, likelihood
from memsched.memory.search.rerank import ScoredHit

FEATURES = Features(
    own=0.5, replies=0.0, lacking=0.0, found=1.5, lead=1.0, memories=3.0, in_time=0.0, of_others=0.0, asks=0.0
)
LEAD = math.log(0.9 / 0.1)


def asked_for(*words: str) -> Things:
    """Each as rare as the others."""
    return [(2.0, {stem(word): 1.0}) for word in words]


def hit(text: str, turn: int = 0, points: float = 0.0, speaker: str = "Ann", **payload: Any) -> ScoredHit:
    """The memory's id is its text."""
    payload = {"text": text, "turn": turn, "speaker": speaker, "session_id": "s", **payload}
    return ScoredHit(text, payload, {"words": points}, points)


def features(evidence: Evidence, of: ScoredHit) -> Features:
    return evidence.of(of, found=of.score, memories=10, of_others=False)


def test_own_words_count_apart_from_those_around() -> None:
    answer, beside = hit("The boiler is repaired by Yusuf.", 1, 6.0), hit("He comes on Tuesday.", 2, 5.0)
    evidence = Evidence(asked_for("repairs", "boiler"), [answer, beside])

    assert features(evidence, answer).own == 1.0
    assert features(evidence, answer).lacking == 0.0
    assert features(evidence, beside).own == 0.0
    assert features(evidence, beside).lacking == 1.0, "another one has all of them"


def test_an_answer_has_the_words_of_what_somebody_else_asked_right_before() -> None:
    asked, reply = hit("Who repairs the boiler?", 1, 9.0), hit("Yusuf does.", 2, 8.0, "Bob")
    again, later = hit("He is good.", 2, 8.0, "Ann"), hit("On Monday.", 3, 8.0, "Bob")
    evidence = Evidence(asked_for("repairs", "boiler"), [asked, reply, again, later])

    assert features(evidence, reply).replies == 1.0
    assert features(evidence, again).replies == features(evidence, later).replies == 0.0
    assert features(evidence, asked).asks == 1.0


def test_what_has_the_points_of_others_leads_them_less() -> None:
    best, second, third = hit("One.", 0, 12.0), hit("Two.", 9, 8.0), hit("Three.", 20, 8.0)
    evidence = Evidence(asked_for("one"), [best, second, third])

    assert features(evidence, best).lead == pytest.approx(-math.log(2 * math.exp(-2.0)))
    assert features(evidence, second).lead == features(evidence, third).lead < 0
    assert features(Evidence(asked_for("one"), [best]), best).lead == LEAD, "no more, where nothing else was found"


def test_what_says_the_same_and_what_was_corrected_are_no_rivals() -> None:
    best, same = hit("One.", 0, 12.0, content_hash="x"), hit("one", 9, 11.0, content_hash="x")
    corrected = hit("No one.", 5, 12.0, superseded_by="One.")
    corrected.score, corrected.parts["superseded"] = 6.0, -6.0
    evidence = Evidence(asked_for("one"), [best, same, corrected])

    assert features(evidence, best).lead == features(evidence, same).lead == LEAD
    assert features(evidence, corrected).lead == 0.0, "by its points before it was put back, as good as the best"


def test_where_not_all_may_be_read_nothing_else_tells() -> None:
    seen, hidden = hit("The boiler is new.", 2, 3.0), hit("Who repairs the boiler?", 1, 12.0, "Bob")
    things = asked_for("repairs", "boiler")

    assert features(Evidence(things, [seen, hidden], alone=True), seen) == features(
        Evidence(things, [seen], alone=True), seen
    )


def test_nearness_does_not_depend_on_where_a_model_has_its_cosines() -> None:
    def near(*cosines: float) -> list[float]:
        hits = [hit(str(number), 9 * number) for number in range(len(cosines))]
        for each, cosine in zip(hits, cosines, strict=True):
            each.parts["dense"] = DENSE_OF_A_MODEL * cosine
        evidence = Evidence(asked_for("one"), hits, is_model=True)
        return [features(evidence, each).nearness for each in hits]

    assert near(0.9, 0.8, 0.8, 0.8) == pytest.approx(near(0.6, 0.2, 0.2, 0.2))
    assert near(0.8, 0.8) == [0.0, 0.0]


@pytest.mark.parametrize("kind", ["words", "model", "alone"])
def test_what_speaks_for_a_result_raises_its_score(kind: str) -> None:
    usual = likelihood(FEATURES, kind)
    assert 0 < usual < 1
    assert likelihood(replace(FEATURES, own=1.0), kind) > usual
    assert likelihood(replace(FEATURES, found=2.5), kind) > usual
    assert likelihood(replace(FEATURES, memories=6.0), kind) < usual
    assert likelihood(replace(FEATURES, of_others=1.0), kind) < usual
    assert likelihood(replace(FEATURES, found=-1e9), kind) < 1e-9, "no overflow"


def test_alone_no_constant_is_of_what_others_tell() -> None:
    constants = json.loads(Path(module.__file__).with_suffix(".json").read_text("utf-8"))
    assert not constants["alone"].keys() & {"replies", "lacking", "lead", "nearness"}
    assert constants["model"].keys() - constants["words"].keys() == {"nearness"}
