"""Entailment: does a clause of what was said say what a claim says? By rules, in English, German, Spanish and Chinese.

A claim is held against the clause of its source that has most of its words. What turns a statement into another one
must be on both sides or on neither: a negation, "almost", "used to", "if", "maybe", "he says that". The subject must be
the same, people and things must stand in the same order, numbers with the same thing. Questions and quotations state
nothing. It errs on the side of refusing: the turn itself is kept anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from memsched.lexicon import is_without_spaces
from memsched.llm.clauses import SPEAKER, Clause, Language, Role, Token, clauses_of, is_in_jest, language_of
from memsched.llm.entailment_answers import is_answer, is_chinese_answer
from memsched.llm.entailment_chinese import doubt_in_chinese
from memsched.llm.entailment_subjects import (
    ALL_ARTICLES,
    HeldClaim,
    doubt_about_subject,
    has_word,
    in_order,
    is_same,
)
from memsched.llm.entailment_words import DAYS, LIGHT_WORDS, MONTHS, OPPOSITES, OTHER_PRONOUNS, TURNS, Marker

Doubt = Literal["empty", "name", "question", "negation", "supposed", "subject", "order", "number", "words", "speaker"]
_MATCHED_FOR_ONE_MISSING = 2
"""So many words of a claim must be in the clause for each that is not, and one more."""


_GAPPED = 1
"""Content words of a clause that may leave out its verb."""


@dataclass(frozen=True, slots=True)
class SaidTurn:
    """A turn that a claim is said to be from.

    Args:
        speaker: a name, or "".
        by_user: whether it is the user who speaks.
        by_assistant: whether an assistant does, who is no source about anybody.
        asked: the question that it answers, or "".
        before: what was said right before it, by whomever: of that may be what "it" stands for.
    """

    text: str
    speaker: str = ""
    by_user: bool = True
    by_assistant: bool = False
    asked: str = ""
    before: str = ""


def doubt_about(claim: str, turn: SaidTurn) -> Doubt | None:
    """Why a turn does not say what a claim says (a fixed word for a counter), or None."""
    if turn.by_assistant:
        return "speaker"
    if is_in_jest(turn.text):
        return "supposed"
    if is_without_spaces(claim) or is_without_spaces(turn.text + turn.asked):
        doubt: Doubt | None = doubt_in_chinese(claim, turn.text, turn.speaker, by_user=turn.by_user)
        return doubt and (None if turn.by_user and is_chinese_answer(claim, turn.asked, turn.text) else doubt)
    doubt = _doubt_about_statement(claim, turn)
    return doubt and (None if turn.by_user and is_answer(claim, turn.asked, turn.text) else doubt)


def _doubt_about_statement(claim: str, turn: SaidTurn) -> Doubt | None:
    language = language_of(turn.text, language_of(claim))
    said = list(clauses_of(turn.text, language, _names(turn)))
    claims = list(clauses_of(claim, language_of(claim, language), _names(turn), claimed=True))
    known = {token.stem for clause in said for token in clause.tokens}
    if language != "de" and any(
        token.capital and token.content and token.stem not in known for each in claims for token in each.tokens
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


def _names(turn: SaidTurn) -> list[str]:
    return [turn.speaker] if turn.speaker else []


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


def _doubt(claim: HeldClaim, said: Sequence[Clause], turn: SaidTurn, language: Language) -> Doubt | None:
    wanted = [token for token in claim.predicate if token.content and token.stem not in LIGHT_WORDS]
    wanted += [token for token in claim.predicate if token.number]
    subject = [token for token in claim.subject if token.content]
    if not wanted:
        wanted = [token for token in claim.predicate if token.content]
    if not wanted and not subject:
        return None
    scores = [(_score(clause, wanted), sum(has_word(clause, token) for token in subject)) for clause in said]
    best = max(scores, default=((0, 0), 0))
    if not best[0][0] and not best[1]:
        return "words"
    doubts = [
        _doubt_about_clause(claim, wanted, subject, clause, said, turn, language)
        for clause, score in zip(said, scores, strict=True)
        if score[0] == best[0]
    ]
    if None in doubts and "negation" not in doubts:
        return None
    return next(doubt for doubt in sorted(doubts, key=lambda each: each != "negation") if doubt is not None)


def _score(clause: Clause, wanted: Sequence[Token]) -> tuple[int, int]:
    """How much of a claim a clause has; what "it" stands for counts where the clause has something itself."""
    own = sum(_weight(token) for token in wanted if has_word(clause, token))
    return own and sum(_weight(token) for token in wanted if has_word(clause, token) or _elsewhere(token, clause)), own


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
    said: Sequence[Clause],
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
        Marker.NEGATION in each.markers and has_word(each, token)
        for each in said
        for token in missing
        if not _is_day(token)
    ):
        return "negation"
    if missing and len(missing) * _MATCHED_FOR_ONE_MISSING + 1 > len(wanted) - len(missing) + len(subject):
        return "words"
    if not _numbers_fit(claim, clause):
        return "number"
    if doubt := doubt_about_subject(claim, subject, clause, language, by_user=turn.by_user):
        return doubt
    return None if in_order(claim, clause) else "order"


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
    return any(
        (one in claimed - said and other in said - claimed) or (other in claimed - said and one in said - claimed)
        for one, other in OPPOSITES
    )


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
    for at, token in enumerate(claim.clause.tokens):
        if not token.number or token.free:
            continue
        if not any(
            is_same(token, other) and _beside(claim.clause.tokens, at) & _beside(clause.tokens, place)
            for place, other in enumerate(clause.tokens)
        ) and _beside(claim.clause.tokens, at):
            return False
    return True


def _beside(tokens: Sequence[Token], at: int) -> set[tuple[str, str]]:
    """The nearest words before and after a number."""
    near = set()
    for direction, rest in (("before", [*reversed(tokens[:at])]), ("after", tokens[at + 1 :])):
        told = [
            "" if token.role else token.stem for token in rest if token.role or (token.content and not token.number)
        ]
        found = told[:1] + [stem for stem in told if stem not in TURNS][:1]  # who turns five is five
        near |= {("" if stem in MONTHS else direction, stem) for stem in found}
    return near
