"""Words that are typed in haste are read as the words that they are; others stay."""

from __future__ import annotations

import pytest

from memsched.memory.ingest.clauses import sentences_of
from memsched.memory.ingest.spelling import as_spelled
from memsched.memory.ingest.vital import vital_kind


@pytest.mark.parametrize(
    ("typed", "lang", "meant"),
    [
        ("im diabtic", "en", "i'm diabetic"),
        ("alergic to bees", "en", "allergic to bees"),
        ("hab ne laktoseintolleranz", "de", "habe eine laktoseintoleranz"),
        ("tngo q ir", "es", "tengo que ir"),
        ("soy diabetico", "es", "soy diabético"),
        ("una gran alegria", "es", "una gran alegria"),
        ("Mein Schwager meditiert.", "de", "Mein Schwager meditiert."),
        ("My medication is here", "en", "My medication is here"),
    ],
)
def test_only_words_that_are_looked_for_are_led_back(typed: str, lang: str, meant: str) -> None:
    assert as_spelled(typed, lang) == meant


@pytest.mark.parametrize(
    ("text", "lang", "stated"),
    [
        ("I'm 20 weeks pregnant, what can I eat?", "en", "I'm 20 weeks pregnant"),
        ("Ich bin in der 20. Woche, was darf ich essen?", "de", "Ich bin in der 20. Woche"),
        ("Soy celíaca desde niña, ¿qué puedo pedir?", "es", "Soy celíaca desde niña"),
        ("我怀孕二十周了，能吃什么？", "zh", "我怀孕二十周了"),
    ],
)
def test_what_is_said_before_a_question_is_stated(text: str, lang: str, stated: str) -> None:
    (said, apart), (_, asked) = sentences_of(text, lang)
    assert (said, apart, asked) == (stated, "", "question")


@pytest.mark.parametrize("text", ["You are coming, right?", "Is it cold, and is it wet?", "你明天来，对吧？"])
def test_other_questions_are_asked_as_a_whole(text: str) -> None:
    lang = "zh" if "你" in text else "en"
    assert all(apart == "question" for _, apart in sentences_of(text, lang))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Can I take ibuprofen with my blood thinners?", "illness"),
        ("Is my cousin's boss diabetic?", ""),
        ("I react badly to shellfish if I eat it raw.", "allergy"),
        ("If I were pregnant, I would not fly.", ""),
        ("The boss of my cousin is diabetic.", ""),
        ("Mein Bruder, der Epilepsie hat, wohnt bei mir.", "illness"),
        ("I had asthma as a child, long gone.", ""),
        ("ojo q soy diabetico", "illness"),
    ],
)
def test_whose_it_is_and_whether_it_is_so(text: str, kind: str) -> None:
    assert vital_kind(text) == kind
