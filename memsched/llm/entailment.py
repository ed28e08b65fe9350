"""Entailment: does a clause of what was said say what a claim says? By rules, in English, German, Spanish and Chinese.

A claim is held against the clause of its source that has most of its words. What turns a statement into another one
must be on both sides or on neither: a negation, "almost", "used to", "if", "maybe", "he says that". The subject must be
the same, people and things must stand in the same order, numbers with the same thing. Questions and quotations state
nothing. It errs on the side of refusing: the turn itself is kept anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from memsched.lexicon import is_without_spaces
from memsched.llm.clauses import Language, clauses_of, language_of
from memsched.llm.entailment_answers import is_answer, is_chinese_answer, is_of_another
from memsched.llm.entailment_chinese import doubt_in_chinese
from memsched.llm.entailment_subjects import (
    ALL_ARTICLES,
    HeldClaim,
    doubt_about_subject,
    in_order,
    is_unclear,
)
from memsched.llm.entailment_words import DAYS, LIGHT_WORDS, MONTHS, ONE_OF, OPPOSITES, OTHER_PRONOUNS, TURNS, Marker
from memsched.llm.exchanged_roles import exchanges_roles
from memsched.llm.said_turn import Reading, SaidTurn
from memsched.llm.tokens import SPEAKER, Clause, Role, Token, has_word, is_same

Doubt = Literal[
    "empty", "name", "question", "negation", "supposed", "subject", "order", "number", "words", "speaker", "unclear"
]
_MATCHED_FOR_ONE_MISSING = 2
"""So many words of a claim must be in the clause for each that is not, and one more."""
_GAPPED = 1
"""Content words of a clause that may leave out its verb."""


def doubt_about(claim: str, turn: SaidTurn) -> Doubt | None:
    """Why a turn does not say what a claim says (a fixed word for a counter), or None."""
    if turn.by_assistant:
        return "speaker"
    if turn.is_in_jest:
        return "supposed"
    if turn.is_unspaced or is_without_spaces(claim):
        doubt: Doubt | None = doubt_in_chinese(claim, turn.chinese, turn.speaker, by_user=turn.by_user)
        return doubt and (None if turn.by_user and is_chinese_answer(claim, turn.asked, turn.text) else doubt)
    doubt = _doubt_about_statement(claim, turn)
    if doubt is None and turn.by_user and is_of_another(claim, turn.asked, turn.text):
        return "subject"
    return doubt and (None if turn.by_user and is_answer(claim, turn.asked, turn.text) else doubt)


def _doubt_about_statement(claim: str, turn: SaidTurn) -> Doubt | None:
    language = turn.language_beside[language_of(claim)]
    said = turn.read(turn.text, language)
    names = [turn.speaker] if turn.speaker else []
    claims = list(clauses_of(claim, language_of(claim, language), names, claimed=True))
    if language != "de" and any(
        token.capital and token.content and token.stem not in said.stems for each in claims for token in each.tokens
    ):
        return "name"
    subject: list[Token] = [SPEAKER]
    told = False
    for clause in claims:
        parts = _parts(clause, subject)
        subject = parts.subject
        told = told or any(token.content or token.number for token in clause.tokens)
        if (doubt := _doubt(parts, said, turn, language)) is not None:
            return doubt
    return None if told else "empty"


# Holding a claim against clauses


def _parts(clause: Clause, last: list[Token]) -> HeldClaim:
    """Subject and predicate of a claim's clause; one without a subject has that of the clause before it.

    Args:
        last: that subject; at first, the one who speaks.
    """
    tokens = clause.tokens
    end = 0
    for at, token in enumerate(tokens):
        before = tokens[at - 1] if at else None
        article = token.word.casefold() in ALL_ARTICLES
        owned = before is not None and (
            before.word.casefold() in ALL_ARTICLES or before.role is Role.OWNER or before.word.endswith("'s")
        )
        if token.role or article or (token.content and (owned or token.capital or (token.thing and not at))):
            end = at + 1
        elif token.content and token.capital and not at:
            end = 1
        else:
            break
    subject = [token for token in tokens[:end] if token.content or token.role]
    rest = [token for token in tokens[end:] if token.content or token.number or token.role]
    if not subject and tokens and tokens[0].word.casefold() in _EXPLETIVES:
        return HeldClaim(clause, [], rest)
    return HeldClaim(clause, subject or last, rest)


_EXPLETIVES = frozenset(("there", "it", "es", "hay", "se"))


def _doubt(claim: HeldClaim, said: Reading, turn: SaidTurn, language: Language) -> Doubt | None:
    wanted = [token for token in claim.predicate if token.content and token.stem not in LIGHT_WORDS]
    wanted += [token for token in claim.predicate if token.number]
    subject = [token for token in claim.subject if token.content]
    if not wanted:
        wanted = [token for token in claim.predicate if token.content]
    if not wanted and not subject:
        return None
    best = _best(said, wanted)
    if not best and not any(said.has(token) for token in subject):
        return "words"
    doubts = []
    for clause in best or said.clauses:
        doubt = _doubt_about_clause(claim, wanted, subject, clause, said, turn, language)
        if doubt == "negation":
            return doubt
        doubts.append(doubt or ("order" if exchanges_roles([claim.clause], [clause], language) else None))
    return None if None in doubts else next(doubt for doubt in doubts if doubt is not None)


def _best(said: Reading, wanted: Sequence[Token]) -> list[Clause]:
    """The clauses that have most of a claim, in order; none, if none has any of it.

    What "it" stands for counts where the clause has something itself.
    """
    own: Counter[int] = Counter()
    for token in wanted:
        own.update(dict.fromkeys(said.places.of(token), _weight(token)))
    scores: dict[int, tuple[int, int]] = {}
    for number, weight in own.items():
        clause = said.clauses[number]
        elsewhere = sum(_weight(token) for token in wanted if not has_word(clause, token) and _elsewhere(token, clause))
        scores[number] = weight + elsewhere, weight
    best = max(scores.values(), default=(0, 0))
    return [said.clauses[number] for number in sorted(scores) if scores[number] == best]


def _weight(token: Token) -> int:
    """A name or a number says most of which clause a claim is about; when it is, least."""
    return 2 if (token.capital or token.number) and not _is_day(token) else 1


def _is_day(token: Token) -> bool:
    return token.word.casefold().removesuffix("s") in DAYS


def _doubt_about_clause(
    claim: HeldClaim,
    wanted: Sequence[Token],
    subject: Sequence[Token],
    clause: Clause,
    said: Reading,
    turn: SaidTurn,
    language: Language,
) -> Doubt | None:
    if clause.asks and not claim.clause.asks:
        return "question"
    if doubt := _doubt_about_markers(claim, clause):
        return doubt
    if _says_the_opposite(claim.clause, clause):
        return "negation"
    missing = [
        token
        for token in wanted
        if not has_word(clause, token)
        and not ((token.thing or _is_day(token)) and _elsewhere(token, clause))
        and not _is_gapped(token, clause)
    ]
    if any(token.number or token.capital or token.thing for token in missing):
        return "number" if any(token.number for token in missing) else "words"
    if Marker.NEGATION not in claim.clause.markers and any(
        said.places.is_denied(token) for token in missing if not _is_day(token)
    ):
        return "negation"
    if missing and len(missing) * _MATCHED_FOR_ONE_MISSING + 1 > len(wanted) - len(missing) + len(subject):
        return "words"
    if not _numbers_fit(claim, clause):
        return "number"
    if doubt := doubt_about_subject(claim, subject, clause, language, by_user=turn.by_user):
        return doubt
    if not in_order(claim, clause):
        return "order"
    return "unclear" if is_unclear(claim, clause, language) else None


def _elsewhere(token: Token, clause: Clause) -> bool:
    """Whether "it" in the clause may stand for what the clause before it names, or a list of names goes on after it."""
    before = clause.follows
    if _is_day(token) and before is not None and not clause.begins and has_word(before, token):
        return True  # "on Friday I can't, my parents come"
    has_pronoun = any(each.word.casefold() in OTHER_PRONOUNS for each in clause.tokens)
    return has_pronoun and before is not None and not token.number and has_word(before, token)


def _is_gapped(token: Token, clause: Clause) -> bool:
    """Whether a short clause goes on with the verb of the one before: "I used to live in Bath, now in Leeds"."""
    before = clause.follows
    if before is None or clause.begins or token.capital or token.number or token.thing:
        return False
    return sum(each.content for each in clause.tokens) <= _GAPPED and has_word(before, token)


def _says_the_opposite(claim: Clause, clause: Clause) -> bool:
    claimed, said = ({token.word.casefold() for token in each.tokens} for each in (claim, clause))
    if any(
        (one in claimed - said and other in said - claimed) or (other in claimed - said and one in said - claimed)
        for one, other in OPPOSITES
    ):
        return True
    return any((claimed - said) & each and (said - claimed) & each for each in ONE_OF)


def _doubt_about_markers(claim: HeldClaim, clause: Clause) -> Doubt | None:
    """What changes a meaning must be on both sides or on neither."""
    says, has = claim.clause.markers, set(clause.markers)
    if _goes_on_with_what_is_reported(clause):
        has.add(Marker.REPORTED)
    if Marker.EXCEPT in has - says:
        # "Everyone except Ben came": Ben did not.
        subject = next((token.stem for token in claim.subject if token.content), "")
        words = [token.stem for token in clause.tokens]
        after = any(
            token.word.casefold() in _EXCEPT and words[at + 1 : at + 2] == [subject]
            for at, token in enumerate(clause.tokens)
        )
        return None if after and Marker.NEGATION in says else "negation"
    negated = (Marker.NEGATION in says) != (Marker.NEGATION in has)
    if negated and not (
        (Marker.NEGATION in says and has & {Marker.ENDED, Marker.DISLIKE})
        or (Marker.NEGATION in has and Marker.DISLIKE in says)
    ):
        return "negation"
    if not negated and Marker.ENDED in says ^ has:
        return "negation"
    if not negated and Marker.DISLIKE in says ^ has and Marker.NEGATION not in says:
        return "negation"
    for marker in (Marker.ALMOST, Marker.FORMERLY):
        if marker in says ^ has:
            return "negation" if marker is Marker.ALMOST or marker in has else "supposed"
    if Marker.UNSURE in has - says or Marker.REPORTED in has - says:
        return "supposed"
    if Marker.CONDITION in has - says or (Marker.FUTURE in has - says and Marker.PAST in says - has):
        return "supposed"
    return None


def _goes_on_with_what_is_reported(clause: Clause) -> bool:
    """Whether it stands behind "he says,"; not where the speaker goes on after what they said themselves."""
    before = clause.follows
    if before is None or clause.joined or clause.begins or Marker.REPORTED not in before.markers:
        return False
    if clause.tokens and clause.tokens[0].word.casefold() in _THAT:
        return True
    return not all(any(token.role is Role.SUBJECT for token in each.tokens[:2]) for each in (before, clause))


_THAT = frozenset(("that", "dass", "que"))


_EXCEPT = frozenset(("except", "menos", "excepto", "salvo", "außer", "but"))


def _numbers_fit(claim: HeldClaim, clause: Clause) -> bool:
    """Whether each number stands beside the same word on both sides."""
    tokens = claim.clause.tokens
    if not any(token.number and not token.free for token in tokens):
        return True
    claimed, said = _beside(tokens), _beside(clause.tokens)
    return all(
        any(is_same(token, other) and near & said[place] for place, other in enumerate(clause.tokens))
        for token, near in zip(tokens, claimed, strict=True)
        if token.number and not token.free and near
    )


def _beside(tokens: Sequence[Token]) -> list[set[tuple[str, str]]]:
    """Of each word, the nearest words before and after it."""
    near: list[set[tuple[str, str]]] = [set() for _ in tokens]
    for direction, places in (("before", range(len(tokens))), ("after", range(len(tokens) - 1, -1, -1))):
        found: set[tuple[str, str]] = set()
        beyond: set[tuple[str, str]] = set()
        for place in places:
            near[place] |= found
            token = tokens[place]
            if token.role or (token.content and not token.number):
                stem = "" if token.role else token.stem
                told = ("" if stem in MONTHS else direction, stem)
                # Who turns five is five: the next word counts, too.
                beyond = beyond if stem in TURNS else {told}
                found = {told} | beyond
    return near
