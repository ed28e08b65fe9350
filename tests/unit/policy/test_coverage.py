"""Whether what is at hand answers a question already."""

from __future__ import annotations

from support.memories import memory

from memsched.lexicon import stems
from memsched.memory.search.bm25 import TermCounts
from memsched.policy.coverage import covers, overlaps


def test_a_question_is_covered_by_its_rare_words() -> None:
    counts = TermCounts(100, {"rex": 90, "eat": 50, "motorcycl": 1})
    rex = [memory("Rex eats carrots")]

    assert covers(stems("Does Rex eat?"), rex, counts)
    assert not covers(stems("Does Rex eat motorcycles?"), rex, counts)
    assert covers(stems("motorcycles"), [memory("They broke", speaker="Motorcycle")], counts)
    assert not covers(stems("motorcycles"), [], counts)


def test_memories_count_for_a_question_by_the_weight_of_the_words_that_they_share_with_it() -> None:
    counts = TermCounts(100, {"rex": 90, "eat": 50, "motorcycl": 1})
    near = [memory("Rex eats carrots"), memory("Bob repairs motorcycles"), memory("The lake is frozen")]

    shares = overlaps(stems("Does Rex eat motorcycles?"), near, counts)

    assert [memory_id for memory_id, _ in shares] == ["Bob repairs motorcycles", "Rex eats carrots"]
    assert sum(share for _, share in shares) == 1.0
