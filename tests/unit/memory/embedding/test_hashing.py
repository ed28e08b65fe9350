"""The embedder that needs no model: forms of a word are near, other words are not, and it is the same everywhere."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsched.memory.embedding.hashing import DIMENSIONS, HashingEmbedder, embed


def likeness(one: str, other: str) -> float:
    return sum(x * y for x, y in zip(embed(one), embed(other), strict=True))


@given(st.text(max_size=100))
def test_any_text_has_a_vector_of_length_one_or_none_if_it_has_no_word(text: str) -> None:
    vector = embed(text)

    assert len(vector) == DIMENSIONS
    assert math.hypot(*vector) == pytest.approx(1.0, abs=1e-3) or not any(vector)


def test_a_text_without_words_is_nowhere() -> None:
    assert not any(embed(""))
    assert not any(embed("?! ..."))


def test_misspelt_and_inflected_words_are_nearer_than_others() -> None:
    assert likeness("tomatoes", "tomatos") > 0.5
    assert likeness("She moved", "She was moving") > 0.6
    assert abs(likeness("tomatoes", "bicycle")) < 0.2
    assert likeness("Anna is allergic to nuts", "Anna is allergic to nuts!") == pytest.approx(1.0, abs=1e-3)


def test_weights_say_which_words_of_a_query_count() -> None:
    document = embed("The penguin at the station")

    def score(weights: dict[str, float]) -> float:
        return sum(x * y for x, y in zip(embed("penguin train", weights), document, strict=True))

    assert score({"penguin": 5.0, "train": 0.1}) > score({}) > score({"penguin": 0.1, "train": 5.0})


async def test_it_is_the_same_in_every_process() -> None:
    embedder = HashingEmbedder()
    await embedder.prepare()

    (document,) = await embedder.embed_documents(["nuts"])

    assert document == await embedder.embed_query("nuts")
    assert [place for place, value in enumerate(document) if abs(value) > 0.5] == [PLACE_OF_NUT]
    await embedder.aclose()


PLACE_OF_NUT = 443
"""A change of it makes all stored vectors useless: then the embedder needs another name."""
