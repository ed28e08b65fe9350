"""Corrections: how they are told by their words, and where one supersedes an older memory.

A superseded memory stays, and says by which newer one. It only ranks lower (search/hybrid.py), and what was
superseded can be looked up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from memsched.lexicon import STOP_WORDS, is_negated, is_negation, is_question, stem, words
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory, to_ms
from memsched.memory.search.arguments import SearchArgs
from memsched.memory.search.hybrid import HybridSearch
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.store import MemoryStore

CORRECTION = "correction"
"""The tag of what sounds like a correction, so that it is found again when what it corrects comes after it."""
_CORRECTS_FROM = 0.4
_LATER_CORRECTIONS = 20
_LOOK_FOR_CORRECTED = SearchArgs(neighbours=False, candidates=30)
_ADMITS = re.compile(
    r"""\b(?:correction|i\s+meant|(?:i|that)\s+was\s+wrong|my\s+mistake|scratch\s+that|to\s+correct\s+(?:myself|that)|
      changed\s+(?:my|his|her|their|our)\s+mind|no\s+longer|instead\s+of|switched\s+(?:from|to))\b
    |^it\s+turns\s+out\b
    |(?:\bnot|n['\u2019]?t|\bno)\b.{1,60}\b(?:any\s*more|any\s+longer)[.!]?$
    |\b(?:not|isn['\u2019]?t|wasn['\u2019]?t)\s+[\w' -]{1,40}?(?:,\s*|\s+)but\b
    |,\s*not\s+[\w' -]{1,40}[.!]?$
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Leaves no doubt that something said before was wrong, or is so no more."""
_HINTS = re.compile(
    r"""^\W*(?:actually|update|in\s+fact)\b
    |^\W*(?:sorry|oops|wait|wrong|rather)\s*(?:[,:;.!\u2014-]|$)
    |\b(?:i\s+mean|used\s+to\s+\w+|from\s+now\s+on|has\s+changed|(?:is|are|am|lives?|works?)\s+now|
      now\s+(?:lives?|works?|prefers?|likes?|is|are)|(?:has|have)\s+(?:since\s+)?moved)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""May correct something, or be a way to begin a sentence."""
_WEAK_HINTS = re.compile(
    r"""^\W*(?:no|nope)\s*[,:;.!\u2014-]
    |\bmoved\s+(?:back\s+)?to\b(?!.*\b(?:ago|when|(?:19|20)\d\d)\b)
    |(?<!right\s)(?<!just\s)\bnow[.!]?$
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Correct only what has the same form: "she works in Rome" by "she works in Oslo now"."""
_DENIED = re.compile(
    r"""\b(?:not|isn['\u2019]?t|wasn['\u2019]?t)\s+([\w' -]{1,40}?)(?:,\s*|\s+)but\b
    |,\s*not\s+([\w' -]{1,40})[.!]?$
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What "not Paris but Rome" and "Rome, not Paris" take back."""
_CUE_WORDS = """
actually correction sorry oops wait wrong fact rather update mistake scratch longer anymore instead meant mean changed
mind used turns now switched since correct no nope not never more any but turn out change told said earlier before well
oh
"""
_CUES = frozenset(map(stem, _CUE_WORDS.split()))
_NOT_EXCLUSIVE = frozenset(map(stem, "like likes love loves enjoy enjoys want wants got get go went".split()))
"""Who likes one thing may like another: such a word in common says nothing where it is only hinted at a correction."""
_MOVES = re.compile(
    r"\b(?:(?:has|have|had)\s+)?(?:just\s+)?(?:moved|relocated|reside[sd]?)\s+(?:back\s+)?(?=(?:to|in|from)\b)",
    re.IGNORECASE,
)
_FIRST_PERSON = frozenset(("i", "me", "my", "mine", "myself"))
_I = "\x00i"
_SENTENCE_END = re.compile(r"(?<=[.!?\u2026])\s+|\n+")
_LONGEST = 12
"""Content words of a statement, or of a sentence that corrects one. What is longer is about several things: it would
be wrong to take all of it back, and by chance it has words in common with anything."""
_FEWEST_COMMON = 2
_SAID_ANEW = 2


class Corrections:
    """Finds which older memories a newer one supersedes, and says so in the store."""

    def __init__(self, store: MemoryStore, search: HybridSearch) -> None:
        self._store = store
        self._search = search

    async def apply(self, ref: CubeRef, added: Sequence[Memory]) -> list[tuple[Memory, Memory]]:
        """Supersede what new memories correct, and those of them that others correct: returns (older, newer)."""
        superseded = []
        for newer in await self._candidates(ref, added):
            if older := await self._corrected_by(ref, newer):
                await self.supersede(ref, older, newer)
                superseded += [(each, newer) for each in older]
        return superseded

    async def supersede(self, ref: CubeRef, older: Sequence[Memory], newer: Memory) -> None:
        """Say of memories that a newer one supersedes them. Both stay."""
        if not older:
            return
        now = to_ms(datetime.now(UTC))
        changes = {each.memory_id: {"superseded_by": newer.memory_id, "updated_at": now} for each in older}
        replaces = list(dict.fromkeys([*newer.replaces, *(each.memory_id for each in older)]))
        version = 1 + max(each.version for each in older)
        await self._store.patch(
            ref, {**changes, newer.memory_id: {"replaces": replaces, "version": version, "updated_at": now}}
        )

    async def _candidates(self, ref: CubeRef, added: Sequence[Memory]) -> list[Memory]:
        """The corrections among new memories, and those that were here before what they correct: with several
        workers, what was said first may come last.
        """
        found = [memory for memory in added if says_correction(memory.text)]
        if said_at := [memory.at for memory in added if not is_question(memory.text)]:
            later = Conditions(tags=[CORRECTION], since=min(said_at), include_archived=True)
            known = {memory.memory_id for memory in added}
            newest = await self._store.newest(ref, _LATER_CORRECTIONS, later)
            found += [memory for memory in newest if memory.memory_id not in known]
        return found

    async def _corrected_by(self, ref: CubeRef, newer: Memory) -> list[Memory]:
        """The older memories of the same subject, said by the same speaker or about the one who corrects."""
        best: dict[str, tuple[float, Memory]] = {}
        for result in await self._search.search(ref, newer.indexed_text, 10, "hybrid", _LOOK_FOR_CORRECTED):
            older = result.memory
            if older.memory_id == newer.memory_id or not _is_before(older, newer):
                continue
            if older.superseded_by not in (None, newer.memory_id) or is_question(older.text):
                continue
            if older.speaker != newer.speaker and older.speaker and newer.speaker:
                continue
            match = corrects(newer.text, older.text)
            if match >= _CORRECTS_FROM:
                best[older.memory_id] = (match, older)
        if not best:
            return []
        top = max(match for match, _ in best.values())
        return [older for match, older in best.values() if match == top]


def says_correction(text: str) -> bool:
    """Whether it sounds as if it took something back that was said before."""
    return any(map(_sounds_so, _sentences(text)))


def corrects(new: str, old: str) -> float:
    """How much of an older statement's subject a newer one repeats that corrects it, 0 to 1; 0 if it does not.

    A correction names what it is about again (the city where Anna lives) and says it anew: of two short statements,
    what one of them begins with, and one word more, must be in both.
    """
    return max((_corrects(each, old, weak) for each, weak in _correcting(new)), default=0.0)


def same_subject(new: str, old: str) -> float:
    """The like for a statement of which it is certain that it corrects something: words in common, 0 to 1."""
    newer, older = _subject(new), _subject(old)
    if newer == older and is_negated(new) == is_negated(old):
        return 0.0
    return len(set(newer) & set(older)) / max(1, min(len(newer), len(older)))


def _corrects(new: str, old: str, weak: bool) -> float:
    newer, older = _subject(new), _subject(old)
    if not newer or not older or max(len(newer), len(older)) > _LONGEST:
        return 0.0
    if set(newer) == set(older) and is_negated(new) == is_negated(old):
        return 0.0
    if denied := _denied(new):
        if not denied & set(older):
            return 0.0
        if len(newer) <= len(denied) + _SAID_ANEW:  # "not tea but coffee": what it is about goes without saying
            return len(denied & set(older)) / len(denied)
    elif not _ADMITS.search(new):
        if weak and not _same_form(newer, older):
            return 0.0
        newer = [each for each in newer if each not in _NOT_EXCLUSIVE]
        older = [each for each in older if each not in _NOT_EXCLUSIVE]
    common = set(newer) & set(older)
    if len(common) < _FEWEST_COMMON and not _same_form(newer, older):
        return 0.0
    if not (_first(newer) in common or _first(older) in common):
        return 0.0
    return len(common) / min(len(set(newer)), len(set(older)))


def _same_form(newer: Sequence[str], older: Sequence[str]) -> bool:
    """The meeting is on Friday, and: wait, the meeting is on Monday."""
    if len(newer) != len(older):
        return False
    return sum(one != other for one, other in zip(newer, older, strict=True)) == 1


def _first(subject: Sequence[str]) -> str:
    """What it is about: beside oneself, if that is all that there is to say who."""
    return next((each for each in subject if each != _I), "")


def _correcting(text: str) -> list[tuple[str, bool]]:
    """The sentences that correct, and whether they only may.

    After a sentence that only says that something was wrong it is the next one.
    """
    found: list[tuple[str, bool]] = []
    announced = False
    for sentence in _sentences(text):
        if announced or _sounds_so(sentence):
            found.append((sentence, not (announced or _ADMITS.search(sentence) or _HINTS.search(sentence))))
            announced = not set(_subject(sentence)) - {_I}
    return found


def _sounds_so(sentence: str) -> bool:
    return any(each.search(sentence) for each in (_ADMITS, _HINTS, _WEAK_HINTS))


def _sentences(text: str) -> list[str]:
    """Those that are no questions."""
    return [each for each in _SENTENCE_END.split(text.strip()) if each and not is_question(each)]


def _subject(text: str) -> list[str]:
    """The stems of what a statement is about, in order: without the words that only say that it corrects."""
    found: dict[str, None] = {}
    for word in words(_MOVES.sub("lives ", text)):
        if word in _FIRST_PERSON or word.startswith("i'"):
            found[_I] = None
        elif word not in STOP_WORDS and not is_negation(word) and (stemmed := stem(word)) not in _CUES:
            found[stemmed] = None
    return list(found)


def _denied(text: str) -> set[str]:
    return {each for match in _DENIED.finditer(text) for part in match.groups() if part for each in _subject(part)}


def _is_before(older: Memory, newer: Memory) -> bool:
    """Whether a correction may be about what was said: of two in one millisecond, the other one is the correction."""
    if _order(older) == _order(newer):
        return not says_correction(older.text)
    return _order(older) < _order(newer)


def _order(memory: Memory) -> tuple[int, int, int]:
    """Of what was said: by the time as it is stored, in ms."""
    return to_ms(memory.at), memory.turn, memory.part
