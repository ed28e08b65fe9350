"""A question in another language than English is asked in the words that a cube has."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from memsched.memory.search.bm25 import TermCounts
from memsched.memory.search.wording import asked_for, asked_in


@pytest.mark.parametrize(
    ("query", "language"),
    [
        ("Where does my sister live?", "en"),
        ("falcon garden", "en"),
        ("Wo wohnt meine Schwester?", "de"),
        ("¿Dónde vive mi hermana?", "es"),
        ("¿Vivo en Porto?", "es"),
        ("我妹妹住在哪里？", "zh"),
        ("妹はどこに住んでいますか？", "ja"),
    ],
)
def test_the_language_of_a_question(query: str, language: str) -> None:
    assert asked_in(query) == language


@pytest.mark.parametrize(
    ("query", "vocabulary", "found"),
    [
        # another form, a part of a compound and a compound of it, a word for the same; nothing that only asks
        ("Wo ist der Gartenhausschlüssel?", "der schlüssel gartenhaus wo", {"schlüssel", "gartenhaus"}),
        ("Wer wartet unsere Heizung?", "heizungsanlag gewartet unser wer", {"heizungsanlag", "gewartet"}),
        ("Wie heißt mein Vorgesetzter?", "chef heißt mein", {"chef"}),
        ("¿A qué tengo alergia?", "alérgica tengo qué", {"alérgica"}),
        ("¿Dónde están las bicis?", "bicicletas las", {"bicicletas"}),
        ("我丈夫的猫叫什么？", "老公 橘猫 什么 我的", {"老公", "橘猫"}),
        ("夫はどこで働いていますか？", "旦那 働く ます", {"旦那", "働く"}),
        # a brother is no sister, but both are siblings
        ("Wie heißt mein Bruder?", "bruder schwester geschwister", {"bruder", "geschwister"}),
        ("Wie heißen meine Geschwister?", "bruder schwester cousin", {"bruder", "schwester"}),
        ("Wie heißt meine Mutter?", "mutter großmutter schwiegermutt vater", {"mutter"}),
        ("Wie heißt meine Freundin?", "freund freundin", {"freundin"}),
        ("¿Cómo se llama mi hermana?", "hermana hermano", {"hermana"}),
        ("¿Cómo se llaman mis hermanos?", "hermana hermano primo", {"hermana", "hermano"}),
        ("¿Cómo se llama mi tío?", "tío tía", {"tío"}),
        ("我舅舅叫什么？", "舅舅 叔叔 姑姑", {"舅舅"}),
    ],
)
def test_it_is_asked_in_the_words_of_the_cube(query: str, vocabulary: str, found: set[str]) -> None:
    named = {each for thing in asked_for(query, vocabulary.split()) for each in thing.stems}

    assert named & set(vocabulary.split()) == found


def test_a_question_of_nothing_but_asking_words_names_nothing() -> None:
    assert asked_for("Was ist denn das?", ["haus"]) == []


def test_what_stands_for_one_word_is_as_rare_as_all_of_it() -> None:
    counts = TermCounts(20, {}, vocabulary={"chef": 3, "chefin": 2, "leiter": 30})

    assert counts.idf("chef", "chefin") < counts.idf("chef") < counts.idf("boss")
    assert counts.idf("leiter", "chef") == counts.idf("leiter") > 0


def test_no_word_list_has_anything_twice() -> None:
    data: dict[str, Any] = json.loads(files("memsched.memory.search").joinpath("wording.json").read_text("utf-8"))
    for each in data.values():
        for listed in (each["asking"].split(), each["synonyms"]):
            assert len(listed) == len(set(listed))
