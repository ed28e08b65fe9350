"""What kind of a query it is."""

from __future__ import annotations

import pytest

from memsched.memory.search.hybrid import names_words_only


@pytest.mark.parametrize(
    "query", ["falcon", "garden falcon", "really great tea", "Hund Garten", "vuelo Lisboa", "7 42"]
)
def test_nothing_but_words(query: str) -> None:
    assert names_words_only(query)


@pytest.mark.parametrize(
    "query",
    ["falcon?", "the falcon", "where falcons nest", "wann zieht Anna um", "cuándo viaja Ana", "猎鹰在哪里", "\uff1f"],
)
def test_a_sentence_or_nobody_can_tell(query: str) -> None:
    assert not names_words_only(query)
