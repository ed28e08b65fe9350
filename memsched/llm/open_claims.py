"""Which claims are open: not entailed by the words of their source, and not against it either. A model is asked again.

The rules of entailment.py know few words of one meaning, so they refuse most paraphrases. Here is decided which of the
refused are worth a question: another number, another name, a "not" that nobody said or that was lost, what was only
asked, supposed or quoted, and what is said of somebody else, are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from functools import lru_cache

from memsched.lexicon import is_without_spaces
from memsched.llm.clauses import Language, clauses_of, language_of
from memsched.llm.entailment_chinese import ChineseText, in_digits, in_one_way, meaning_signs
from memsched.llm.entailment_words import (
    AGREEING_WORDS,
    LIGHT_WORDS,
    OTHER_PRONOUNS,
    PERSON_WORDS,
    USER_WORDS,
    WEAKENING_WORDS,
    Marker,
)
from memsched.llm.said_turn import Reading, SaidTurn
from memsched.llm.tokens import Clause, Role, Token

_AGAINST = ("empty", "speaker")
"""Doubts that no other wording removes."""
_AGAINST_UNSPACED = (*_AGAINST, "negation", "question", "subject")
_TURNING = frozenset((Marker.NEGATION, Marker.ENDED, Marker.DISLIKE))
_NO_LONGER = frozenset((Marker.FORMERLY, Marker.ALMOST, Marker.EXCEPT))
_DENYING = _TURNING | _NO_LONGER
_WEAKENING = frozenset((Marker.UNSURE, Marker.CONDITION, Marker.REPORTED))
_QUOTES = re.compile('["\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d]')
_SENTENCE = re.compile("[^.!?\u3002\uff01\uff1f]+[.!?\u3002\uff01\uff1f]?")
_HOUR = re.compile("[0-9]{1,2}")
_BEFORE_A_PLACE = ("nach", "in", "aus")
"""In German, where every noun has a capital, a name is known by these right before it."""
_SHARED_SIGNS = 0.4
"""Of a Chinese claim's signs that its turn has; with fewer it is about something else."""
_FEW_SIGNS = 2
_SHORT_UNSPACED = 14
"""Signs of a Chinese turn that may be understood only by what was said right before it."""


def is_open(claim: str, turn: SaidTurn, doubt: str) -> bool:
    """Whether a turn may say what a claim says though the rules doubt it.

    Args:
        doubt: what ``entailment.doubt_about`` says of the two.
    """
    if turn.by_assistant or turn.is_in_jest:
        return False
    unspaced = is_without_spaces(claim), is_without_spaces(turn.text)
    if all(unspaced):
        return doubt not in _AGAINST_UNSPACED and _is_open_in_chinese(claim, turn)
    if doubt in _AGAINST:
        return False
    if any(unspaced):
        numbers = (_numbers(text, language_of(text)) for text in (claim, turn.text + turn.asked))
        return not next(numbers) - next(numbers) and not _only_asks(turn.text)
    return _is_open(claim, turn, doubt)


@lru_cache(maxsize=64)
def _numbers(text: str, language: Language) -> Set[str]:
    """The numbers in a text, as digits; but for "one", which is an article in most languages."""
    if is_without_spaces(text):
        return set(re.findall(r"\d+", in_digits(text))) - ({"1"} - set(re.findall(r"\d+", text)))
    return {
        token.stem.removesuffix("clock").removesuffix("am").removesuffix("pm")
        for clause in clauses_of(_QUOTES.sub(", ", text), language, ())
        for token in clause.tokens
        if token.number and token.stem[:1].isdigit() and (token.stem != "1" or token.word[:1].isdigit())
    }


def _only_asks(text: str) -> bool:
    return all(part.endswith(("?", "\uff1f")) for part in map(str.strip, _SENTENCE.findall(text)) if part)


def _is_open(claim: str, turn: SaidTurn, doubt: str) -> bool:
    language = turn.language_beside[language_of(claim)]
    names = [turn.speaker] if turn.speaker else []
    claims = list(clauses_of(claim, language_of(claim), names, claimed=True))
    known = f"{turn.before} {turn.asked} {turn.text}"
    if not _numbers(claim, language) <= _and_forms(_numbers(known, language)):
        return False
    if _names_another(claims, turn.read(_QUOTES.sub(", ", known), language), language):
        return False
    claimed = {marker for clause in claims for marker in clause.markers}
    if any(token.word.casefold() in WEAKENING_WORDS for token in _tokens(claims)):
        claimed |= _WEAKENING
    text = _QUOTES.sub(", ", turn.text) if Marker.REPORTED in claimed else turn.text
    if not AGREEING_WORDS.isdisjoint(turn.read(turn.text, language).words):
        text = f"{turn.before}\n{text}"
    said = turn.read(text, language)
    wanted = [token for token in _tokens(claims) if _tells(token)]
    having = [set(said.places.of(token)) for token in wanted]
    about: Sequence[Clause] = [said.clauses[number] for number in sorted(set().union(*having))]
    covered = [said.clauses[number] for number in set.intersection(*having)] if having else []
    if covered and all(_says_otherwise(clause, claimed) for clause in covered):
        return False
    if doubt == "order" and sum(map(_is_person, _tokens(claims))) > 1:
        return False
    if not about and language_of(claim) != language:
        about = said.clauses  # other words for the same, in another language
    return any(_may_say(clause, claimed) for clause in about) and not _is_of_another(claims, about)


def _and_forms(numbers: Set[str]) -> Set[str]:
    """Numbers, and other forms of those that may be hours: 7:00 and 7, 3 and 15:00."""
    hours = {hour for each in numbers if _HOUR.fullmatch(hour := each.removesuffix(":00"))}
    return numbers | hours | {f"{int(hour) + later}:00" for hour in hours for later in (0, 12)}


def _tokens(clauses: Iterable[Clause]) -> list[Token]:
    return [token for clause in clauses for token in clause.tokens]


def _tells(token: Token) -> bool:
    return token.number or (token.content and token.stem not in LIGHT_WORDS)


def _names_another(claims: Sequence[Clause], said: Reading, language: Language) -> bool:
    """Whether a claim has a name that nobody said."""
    for clause in claims:
        for at, token in enumerate(clause.tokens):
            is_name = token.capital and token.content
            if language == "de":
                is_name = is_name and at > 0 and clause.tokens[at - 1].word.casefold() in _BEFORE_A_PLACE
            if is_name and not said.has(token):
                return True
    return False


def _says_otherwise(clause: Clause, claimed: set[Marker]) -> bool:
    """Whether a clause says of all that is claimed that it is, was, or almost was, where that is claimed otherwise."""
    differs = bool(clause.markers & _TURNING) != bool(claimed & _TURNING)
    return differs or bool((clause.markers - claimed) & _NO_LONGER)


def _is_person(token: Token) -> bool:
    return (
        token.role in (Role.SUBJECT, Role.OBJECT)
        or (token.capital and token.content)
        or token.word.casefold().removesuffix("'s") in PERSON_WORDS
    )


def _may_say(clause: Clause, claimed: set[Marker]) -> bool:
    """Whether a clause states what it says as a claim with these markers does."""
    if clause.asks or (clause.markers & {Marker.NEGATION, Marker.DISLIKE} and not claimed & _DENYING):
        return False
    if clause.markers & _WEAKENING and not claimed & (_WEAKENING | {Marker.FUTURE}):
        return False
    return not (Marker.FUTURE in clause.markers and Marker.PAST in claimed and Marker.FUTURE not in claimed)


def _is_of_another(claims: Sequence[Clause], about: Sequence[Clause]) -> bool:
    """Whether a claim is about the user, and all that was said of it about another person: "my sister had twins"."""
    first = next((token for token in _tokens(claims) if token.role or token.content), None)
    if first is None or first.role is not Role.SUBJECT or first.word.casefold() not in USER_WORDS:
        return False
    return all(_begins_with_a_person(clause) for clause in about)


def _begins_with_a_person(clause: Clause) -> bool:
    for token in clause.tokens:
        if token.role in (Role.SUBJECT, Role.OBJECT):
            return False
        if token.word.casefold() in PERSON_WORDS:
            return True
        if token.content or token.word.casefold() in OTHER_PRONOUNS:
            return False
    return False


def _is_open_in_chinese(claim: str, turn: SaidTurn) -> bool:
    told, text = in_one_way(claim.replace("\u7528\u6237", "")), in_one_way(turn.text)
    before = in_one_way(turn.before)
    if _numbers(told, "en") - _numbers(f"{before} {text}", "en"):
        return False
    known = f"{before} {text}" if len(text) <= _SHORT_UNSPACED else text
    wanted = set(meaning_signs(told))
    clauses = turn.chinese_clauses
    shared = [(len(wanted.intersection(clause.signs)), clause) for clause in clauses]
    if len(wanted & set(meaning_signs(known))) < _SHARED_SIGNS * len(wanted):
        return False
    claimed = ChineseText(told).clauses
    markers = {marker for clause in claimed for marker in clause.markers}
    if markers & _DENYING and not any(clause.markers & _DENYING for clause in clauses):
        return False
    return any(
        count >= min(_FEW_SIGNS, len(wanted))
        and not clause.asks
        and not (Marker.NEGATION in clause.markers and not markers & _DENYING)
        and not (clause.markers & _WEAKENING and not markers & _WEAKENING)
        and not (clause.markers - markers) & _NO_LONGER
        for count, clause in shared
    )
