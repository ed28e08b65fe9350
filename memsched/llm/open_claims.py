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
from memsched.llm.entailment_chinese import ChineseText, doubt_in_chinese, in_digits, in_one_way, meaning_signs
from memsched.llm.entailment_subjects import owners_fit
from memsched.llm.entailment_words import (
    AGREEING_WORDS,
    INSTEAD_OF,
    KNOWING_WORDS,
    LIGHT_WORDS,
    OTHER_PRONOUNS,
    PAST_FORMS,
    PERSON_WORDS,
    PRESUPPOSING_WORDS,
    SHARED_KNOWLEDGE_IN_CHINESE,
    SHARED_KNOWLEDGE_WORDS,
    USER_WORDS,
    WEAKENING_WORDS,
    Marker,
)
from memsched.llm.exchanged_roles import exchanges_chinese_roles, exchanges_roles, is_of_others_in_japanese
from memsched.llm.said_turn import Reading, SaidTurn
from memsched.llm.tokens import Clause, Role, Token, has_word, is_same

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
    if turn.by_assistant or turn.is_in_jest or is_of_others_in_japanese(claim, turn.text):
        return False
    unspaced = is_without_spaces(claim), is_without_spaces(turn.text)
    if all(unspaced):
        if doubt == "question" and (known := SHARED_KNOWLEDGE_IN_CHINESE.search(turn.text)):
            return doubt_in_chinese(claim, ChineseText(known["told"]), turn.speaker, by_user=turn.by_user) is None
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
    if any(PAST_FORMS.fullmatch(token.word.casefold()) for token in _tokens(claims)):
        claimed.add(Marker.PAST)
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
    if exchanges_roles(claims, about, language) or (about and _is_certainly_otherwise(claims, about, claimed)):
        return False
    if doubt == "order" and sum(map(_is_person, _tokens(claims))) > 1:
        return False
    if not about and language_of(claim) != language:
        about = said.clauses  # other words for the same, in another language
    return any(_may_say(clause, claimed, claims) for clause in about) and not _is_of_another(claims, about)


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
    no_longer = (clause.markers - claimed) & _NO_LONGER
    return differs or bool(no_longer - {Marker.FORMERLY} if Marker.PAST in claimed else no_longer)


def _is_certainly_otherwise(claims: Sequence[Clause], about: Sequence[Clause], claimed: set[Marker]) -> bool:
    """Whether what was said is of another's kin, of an exception, of what stands instead, or with numbers exchanged."""
    tokens = _tokens(claims)
    if any(token.role is Role.OWNER for token in tokens) and not any(owners_fit(tokens, clause) for clause in about):
        return True
    if claimed & _DENYING:
        return False
    if any(_is_instead(token, tokens, clause) for token in tokens for clause in about):
        return True
    first = next((token for token in tokens if token.content), None)
    having = [clause for clause in about if first is not None and has_word(clause, first)]
    is_excepted = (
        all(Marker.EXCEPT in clause.markers for clause in having) and _is_person(first) if first and having else False
    )
    return is_excepted or any(_has_others_number(clause, about) for clause in claims)


def _is_instead(token: Token, claimed: Sequence[Token], clause: Clause) -> bool:
    """Whether it stands right behind "instead of", and a claim does not say so."""
    if not token.content or any(each.word.casefold() in INSTEAD_OF for each in claimed):
        return False
    at = next((at for at, each in enumerate(clause.tokens) if each.word.casefold() in INSTEAD_OF), None)
    if at is None:
        return False
    behind = next((each for each in clause.tokens[at + 1 :] if each.content), None)
    return behind is not None and is_same(token, behind)


def _has_others_number(claim: Clause, about: Sequence[Clause]) -> bool:
    """Whether a claim's number was said of something else, and of what it says, another number."""
    numbers = [token for token in claim.tokens if token.number]
    words = [token for token in claim.tokens if _tells(token) and not token.number]
    if len(numbers) != 1 or not words:
        return False
    with_it = [clause for clause in about if has_word(clause, numbers[0])]
    shared = [clause for clause in about if any(has_word(clause, word) for word in words)]
    return (
        bool(with_it)
        and all(clause not in shared for clause in with_it)
        and any(token.number for clause in shared for token in clause.tokens)
    )


def _is_person(token: Token) -> bool:
    return (
        token.role in (Role.SUBJECT, Role.OBJECT)
        or (token.capital and token.content)
        or token.word.casefold().removesuffix("'s") in PERSON_WORDS
    )


def _may_say(clause: Clause, claimed: set[Marker], claims: Sequence[Clause]) -> bool:
    """Whether a clause states what it says as a claim with these markers does."""
    presupposed = clause.asks and _presupposes(clause, claims)
    if (clause.asks and not presupposed) or (_is_denied(clause) and not claimed & _DENYING):
        return False
    if Marker.FORMERLY in clause.markers and not claimed & (_DENYING | {Marker.PAST}):
        return False
    weakened = clause.markers & _WEAKENING
    if presupposed:
        weakened -= {Marker.REPORTED, Marker.UNSURE}
    if weakened == {Marker.REPORTED} and _is_told_by_who_knows(clause):
        weakened = set()
    is_plan = Marker.FUTURE in claimed and Marker.CONDITION not in weakened
    if weakened and not claimed & _WEAKENING and not is_plan:
        return False
    return not (Marker.FUTURE in clause.markers and Marker.PAST in claimed and Marker.FUTURE not in claimed)


def _is_denied(clause: Clause) -> bool:
    """Whether it says "not", or that somebody stopped, refused or forgot to do something."""
    to_do = any(token.word.casefold() in ("to", "zu") for token in clause.tokens)
    return bool(clause.markers & {Marker.NEGATION, Marker.DISLIKE}) or (to_do and Marker.ENDED in clause.markers)


def _is_told_by_who_knows(clause: Clause) -> bool:
    """Whether it is a doctor who says it."""
    return Marker.REPORTED in clause.markers and any(token.word.casefold() in KNOWING_WORDS for token in clause.tokens)


def _presupposes(clause: Clause, claims: Sequence[Clause]) -> bool:
    """Whether a question tells by the way what is claimed: "how do I say that I am ill?", "what may my son drink?"."""
    tokens, claimed = clause.tokens, [token for token in _tokens(claims) if token.content]
    says_has = any(token.word.casefold() in _HAS for token in _tokens(claims))
    for at, token in enumerate(tokens):
        told: Sequence[Token] = ()
        if token.role is Role.OWNER and says_has:
            told = tokens[at + 1 : at + 4]
        elif (
            token.word.casefold() in PRESUPPOSING_WORDS
            and (
                token.word.casefold() in _WITHOUT_PRONOUN
                or any(each.role is Role.SUBJECT for each in tokens[at + 1 : at + 3])
            )
        ) or (
            token.word.casefold() in SHARED_KNOWLEDGE_WORDS
            and any(each.role is Role.SUBJECT for each in tokens[at + 1 : at + 2])
        ):
            told = tokens[at + 1 :]
        if any(is_same(each, other) for each in claimed for other in told):
            return True
    return False


_WITHOUT_PRONOUN = ("que", "porque")
"""Behind which Spanish needs no "I"."""
_HAS = frozenset(("has", "hat", "tiene"))


def _is_of_another(claims: Sequence[Clause], about: Sequence[Clause]) -> bool:
    """Whether a claim is about the user, and all that was said of it about another person: "my sister had twins"."""
    first = next((token for token in _tokens(claims) if token.role or token.content), None)
    if first is None or first.role is not Role.SUBJECT or first.word.casefold() not in USER_WORDS:
        return False
    return all(_begins_with_a_person(clause) and not _is_told_by_who_knows(clause) for clause in about)


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
    if _numbers(told, "en") - _numbers(f"{before} {text}", "en") or exchanges_chinese_roles(claim, turn):
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
