"""Words, stems, and weights whose dot product is BM25."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsched.lexicon import STOP_WORDS, stem, stems
from memsched.memory.search.bm25 import K1, USUAL_LENGTH, B, TermCounts, index_of, own_weights
from memsched.memory.search.window import sparse_of
from memsched.memory.store.points import Sparse

WORDS = st.lists(st.sampled_from("nut cat dog house boat rain tea".split()), min_size=1, max_size=30)


def dot(one: Sparse, other: Sparse) -> float:
    values = dict(zip(other.indices, other.values, strict=True))
    return sum(value * values.get(index, 0.0) for index, value in zip(one.indices, one.values, strict=True))


@given(st.text(max_size=200))
def test_any_text_has_stems_that_fit_into_a_vector(text: str) -> None:
    weights = sparse_of(own_weights(stems(text)))

    assert len(set(weights.indices)) == len(weights.indices) == len(weights.values)
    assert all(0 <= index < 2**32 for index in weights.indices)
    assert all(0 < value <= K1 + 1 for value in own_weights(stems(text)).values())


@given(WORDS, WORDS, st.integers(0, 50))
def test_the_dot_product_of_both_sides_is_bm25(document: list[str], query: list[str], others: int) -> None:
    counts = TermCounts(others + 1, Counter(set(document)))

    score = dot(sparse_of(counts.idfs(query)), sparse_of(own_weights(document)))

    expected = 0.0
    for term in set(query):
        tf, n = document.count(term), min(1, document.count(term))
        idf = math.log(1 + (counts.memories - n + 0.5) / (n + 0.5))
        expected += idf * tf * (K1 + 1) / (tf + K1 * (1 - B + B * (len(document) + 1) / USUAL_LENGTH))
    assert score == pytest.approx(expected, abs=1e-3)


def test_a_rare_word_counts_more_than_a_common_one_and_every_word_counts() -> None:
    counts = TermCounts(100, {"train": 90, "penguin": 1, "more than all": 500})

    assert counts.idf("penguin") > counts.idf("train") > 0
    assert counts.idf("never seen") > counts.idf("penguin")
    assert counts.idf("more than all") > 0
    assert TermCounts(0, {}).idf("anything") > 0


def test_a_stem_has_the_same_dimension_on_every_machine() -> None:
    assert index_of("allergi") == 3_590_738_641
    assert {stem(word) for word in STOP_WORDS}.isdisjoint(stems("Anna is allergic to nuts"))
