"""Lookup finds what a search with each of its patterns finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memsched.memory.ingest.lookup import Lookup, as_words
from memsched.memory.ingest.revision_words import found, pattern

CASES = Path(__file__).parents[3] / "data" / "decisions" / "revisions.jsonl"
KINDS = ("admits", "changed", "denies", "ended", "now", "once", "one_valued", "supposed", "tense", "told", "untold")


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("moved?", "We MOVE."),
        ("moved?", "She moves"),
        ("hope\\w*", "I am hopeful"),
        ("(just |only )?(kidding|joking)", "only kidding"),
        ("(just |only )?(kidding|joking)", "no kidding"),
        ("(wohn|leb)(e|t)", "sie lebt hier"),
        ("(?<!i )(says|said)", "he said so"),
        ("(?<!i )(says|said)", "I said so"),
        ("\\w+n['’]t", "it isn’t"),
        ("i['’]\\w+", "I'm here"),
        ("co-?worker", "my coworker, a co-worker"),
        ("(ja)+", "jaja"),
        ("say(?! (no|yes))", "they say no"),
        ("a|b c", "b c"),
        ("before[.!]?$", "as before."),
        ("name['’]s", "the name's Bond"),
        ("istanbul", "\u0130stanbul"),
        ("in .{1,9} now", "we sit in a tent now"),
    ],
)
def test_a_pattern_is_found_as_a_search_finds_it(way: str, text: str) -> None:
    there = as_words([way]).search(text) is not None
    assert Lookup({"kind": [way]}).names_in(text) == ({"kind"} if there else set())


@pytest.mark.parametrize("lang", ["en", "de", "es"])
def test_the_words_of_revisions_are_found_as_a_search_finds_them(lang: str) -> None:
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    texts = {text for case in cases for text in case.values() if isinstance(text, str)}
    for text in texts:
        for kind in KINDS:
            assert found(kind, lang, text) == (pattern(kind, lang).search(text) is not None), (kind, text)
