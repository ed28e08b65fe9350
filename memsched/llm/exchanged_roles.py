"""Who does it to whom: "Ann owes me 5" does not say that I owe Ann 5, nor that I lent her 5."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memsched.lexicon import is_without_spaces
from memsched.llm.clauses import Language
from memsched.llm.entailment_words import OBJECT_PRONOUNS, PERSON_WORDS, SUBJECT_PRONOUNS, USER_WORDS
from memsched.llm.said_turn import SaidTurn
from memsched.llm.tokens import Clause, Role, Token, is_same

_WORDS: dict[str, Any] = json.loads(Path(__file__).with_name("role_words.json").read_text(encoding="utf-8"))
_OWES, _LENDS = (re.compile(rf"(?:{_WORDS[name]})", re.IGNORECASE) for name in ("owes", "lends"))
_BOTH_WAYS = re.compile(rf"(?:{_WORDS['both_ways']})", re.IGNORECASE)
"""What two people do to each other."""
_BY = frozenset(_WORDS["by"])
"""Before whom something is done by."""
_IN_CHINESE = re.compile(_WORDS["in_chinese"])
_NOT_IN_CHINESE = re.compile(_WORDS["not_in_chinese"])
_SELF = "\ue000"
_SUBJECTS = frozenset().union(*SUBJECT_PRONOUNS.values())
_OBJECTS = frozenset().union(*OBJECT_PRONOUNS.values())
_OWN_WORDS = _SUBJECTS | _OBJECTS


def exchanges_roles(claims: Sequence[Clause], said: Sequence[Clause], language: Language) -> bool:
    """Whether a claim has who does something, and to whom, the other way round than what was said.

    In German and Spanish, whose words stand in any order, only of what is owed.
    """
    return any(_is_exchanged(claim, clause, language) for claim in claims for clause in said)


def exchanges_chinese_roles(claim: str, turn: SaidTurn) -> bool:
    """The same in Chinese, of what is owed, lent and given."""
    claimed, said = (set(_IN_CHINESE.findall(_with_self(text))) for text in (claim, turn.text))
    given = {(who, verb, whom) for who, verb, whom in said if not _NOT_IN_CHINESE.search(who + whom)}
    return any((whom, verb, who) in given and (who, verb, whom) not in given for who, verb, whom in claimed)


def _with_self(text: str) -> str:
    return re.sub(_WORDS["self_in_chinese"], _SELF, text)


def _is_exchanged(claim: Clause, said: Clause, language: Language) -> bool:
    if any(token.word.casefold() in _BY for clause in (claim, said) for token in clause.tokens):
        return False
    if _are_exchanged(_debt(claim.tokens), _debt(said.tokens)):
        return True
    return language == "en" and any(
        _are_exchanged(_around(claim.tokens, at), _around(said.tokens, place))
        for at, token in enumerate(claim.tokens)
        if token.content and not _person(token) and not _BOTH_WAYS.fullmatch(token.word)
        for place, other in enumerate(said.tokens)
        if is_same(token, other)
    )


_Sides = tuple[frozenset[str], frozenset[str]]
"""Who stands before a word, and who after it."""


def _are_exchanged(claimed: _Sides, said: _Sides) -> bool:
    (one, other), (before, after) = claimed, said
    return bool(one & (after - before)) and bool(other & (before - after))


def _debt(tokens: Sequence[Token]) -> _Sides:
    """Who owes, and whom, where a clause says so."""
    for at, token in enumerate(tokens):
        if _OWES.fullmatch(token.word) or _LENDS.fullmatch(token.word):
            before, after = _around(tokens, at)
            own = {each.word.casefold() for each in tokens}
            if own & _OBJECTS and not own & _SUBJECTS:  # "Mir schuldet Ann 5 Euro"
                before, after = (before | after) - {_SELF}, frozenset((_SELF,))
            return (before, after) if _OWES.fullmatch(token.word) else (after, before)
    return frozenset(), frozenset()


def _around(tokens: Sequence[Token], at: int) -> _Sides:
    before, after = (frozenset(filter(None, map(_person, part))) for part in (tokens[:at], tokens[at + 1 :]))
    return before, after


def _person(token: Token) -> str:
    """Whom a word names, by its stem; "" if nobody."""
    word = token.word.casefold()
    if token.role in (Role.SUBJECT, Role.OBJECT) or word in USER_WORDS or word in _OWN_WORDS:
        return _SELF
    return token.stem if (word[:1] != token.word[:1] and token.content) or word in PERSON_WORDS else ""


# -- Japanese, where a topic stands first


_KANA = re.compile("[\u3040-\u30ff]")
_TOPIC = re.compile("([^\u306f\u304c\u3082\u3001\\s]{1,14})(?:\u306f|\u304c|\u3082)")
_PEOPLE = re.compile(_WORDS["people_in_japanese"])
_SELVES = frozenset(_WORDS["selves_in_japanese"])
_SENTENCE = re.compile("[^\u3002\uff01\uff1f!?\n]+")


def is_of_others_in_japanese(claim: str, text: str) -> bool:
    """Whether a claim is of the user, and what a Japanese text says of it is of another: "my sister lives in Tokyo"."""
    if not _KANA.search(text):
        return False
    claimed = _topic(claim) if _KANA.search(claim) else _topic_in_other_words(claim)
    if claimed is None:
        return False
    sentences = _SENTENCE.findall(text)
    if is_without_spaces(claim):
        shared = [len(set(claim) & set(sentence)) for sentence in sentences]
        sentences = [each for each, count in zip(sentences, shared, strict=True) if count == max(shared)]
    topics = [_topic(each) for each in sentences]
    return bool(topics) and all(topic and topic != claimed and _PEOPLE.search(topic[0]) for topic in topics)


def _topic(sentence: str) -> tuple[str, ...] | None:
    """Of whom or what a sentence tells, whose it is first; () of the speaker; None where it does not say."""
    found = _TOPIC.match(sentence.strip())
    if found is None:
        return None
    named = found[1].split("\u306e")
    return tuple(named[1:] if named[0] in _SELVES else named)


def _topic_in_other_words(claim: str) -> tuple[str, ...] | None:
    words = [each.strip(".,'").casefold() for each in claim.split()]
    is_of_user = claim.startswith(_WORDS["user_in_chinese"]) or any(each in USER_WORDS for each in words[:2])
    of_kin = any(each in PERSON_WORDS for each in words) or "\u7684" in claim[:4]
    return () if is_of_user and not of_kin else None
