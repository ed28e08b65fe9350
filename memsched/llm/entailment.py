"""Entailment: does a clause of what was said say what a claim says? By rules, in English, German, Spanish and Chinese.

A claim is held against the clause of its source that has most of its words. What turns a statement into another one
must be on both sides or on neither: a negation, "almost", "used to", "if", "maybe", "he says that". The subject must be
the same, people and things must stand in the same order, numbers with the same thing. Questions and quotations state
nothing. It errs on the side of refusing: the turn itself is kept anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from memsched.lexicon import is_without_spaces
from memsched.llm.clauses import SPEAKER, Clause, Language, Role, Token, clauses_of, is_in_jest, language_of
from memsched.llm.entailment_answers import is_answer, is_chinese_answer
from memsched.llm.entailment_chinese import doubt_in_chinese
from memsched.llm.entailment_words import (
    ARTICLES,
    DAYS,
    LIGHT_WORDS,
    MONTHS,
    OPPOSITES,
    OTHER_PRONOUNS,
    OWN_GROUPS,
    TURNS,
    USER_WORDS,
    WE,
    Marker,
)

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
    """

    text: str
    speaker: str = ""
    by_user: bool = True
    by_assistant: bool = False
    asked: str = ""


@dataclass(slots=True)
class _Claim:
    clause: Clause
    subject: list[Token] = field(default_factory=list)
    predicate: list[Token] = field(default_factory=list)


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


def _parts(clause: Clause, last: list[Token]) -> _Claim:
    """Subject and predicate of a claim's clause; one without a subject has that of the clause before it.

    Args:
        last: that subject; at first, the one who speaks.
    """
    tokens = clause.tokens
    end = 0
    for at, token in enumerate(tokens):
        before = tokens[at - 1] if at else None
        article = token.word.casefold() in _ALL_ARTICLES
        owned = before is not None and (
            before.word.casefold() in _ALL_ARTICLES or before.role is Role.OWNER or before.word.endswith("'s")
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
        return _Claim(clause, [], rest)
    return _Claim(clause, subject or last, rest)


_EXPLETIVES = frozenset(("there", "it", "es", "hay", "se"))
_ALL_ARTICLES = frozenset(word for language in ("en", "de", "es") for word in ARTICLES[language])


def _doubt(claim: _Claim, said: Sequence[Clause], turn: SaidTurn, language: Language) -> Doubt | None:
    wanted = [token for token in claim.predicate if token.content and token.stem not in LIGHT_WORDS]
    wanted += [token for token in claim.predicate if token.number]
    subject = [token for token in claim.subject if token.content]
    if not wanted:
        wanted = [token for token in claim.predicate if token.content]
    if not wanted and not subject:
        return None
    scores = [(_score(clause, wanted), sum(_has(clause, token) for token in subject)) for clause in said]
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
    own = sum(_weight(token) for token in wanted if _has(clause, token))
    return own and sum(_weight(token) for token in wanted if _has(clause, token) or _elsewhere(token, clause)), own


def _weight(token: Token) -> int:
    """A name or a number says most of which clause a claim is about; when it is, least."""
    return 2 if (token.capital or token.number) and not _is_day(token) else 1


def _is_day(token: Token) -> bool:
    return token.word.casefold().removesuffix("s") in DAYS


def _has(clause: Clause, token: Token) -> bool:
    return _find(clause, token) is not None


def _find(clause: Clause, token: Token) -> int | None:
    return next((at for at, each in enumerate(clause.tokens) if _same(token, each)), None)


def _same(token: Token, other: Token) -> bool:
    if token.number or other.number:
        return token.number and other.number and token.stem == other.stem
    if token.stem == other.stem:
        return True
    if not (token.content and other.content):
        return False
    shared = next((at for at, pair in enumerate(zip(token.stem, other.stem, strict=False)) if pair[0] != pair[1]), None)
    shared = min(len(token.stem), len(other.stem)) if shared is None else shared
    return shared >= 4 and shared >= 0.65 * max(len(token.stem), len(other.stem))


def _doubt_about_clause(
    claim: _Claim,
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
        if not _has(clause, token)
        and not ((token.thing or _is_day(token)) and _elsewhere(token, clause))
        and not _is_gapped(token, clause)
    ]
    if any(token.number or token.capital for token in missing):
        return "number" if any(token.number for token in missing) else "words"
    if Marker.NEGATION not in claim.clause.markers and any(
        Marker.NEGATION in each.markers and _has(each, token)
        for each in said
        for token in missing
        if not _is_day(token)
    ):
        return "negation"
    if missing and len(missing) * _MATCHED_FOR_ONE_MISSING + 1 > len(wanted) - len(missing) + len(subject):
        return "words"
    if not _numbers_fit(claim, clause):
        return "number"
    if doubt := _doubt_about_subject(claim, subject, clause, turn, language):
        return doubt
    return None if _in_order(claim, clause) else "order"


def _elsewhere(token: Token, clause: Clause) -> bool:
    """Whether "it" in the clause may stand for what the clause before it names, or a list of names goes on after it."""
    before = clause.follows
    if _is_day(token) and before is not None and not clause.begins and _has(before, token):
        return True  # "on Friday I can't, my parents come"
    has_pronoun = any(each.word.casefold() in OTHER_PRONOUNS for each in clause.tokens)
    return has_pronoun and before is not None and not token.number and _has(before, token)


def _is_gapped(token: Token, clause: Clause) -> bool:
    """Whether a short clause goes on with the verb of the one before: "I used to live in Bath, now in Leeds"."""
    before = clause.follows
    if before is None or clause.begins or token.capital or token.number or token.thing:
        return False
    return sum(each.content for each in clause.tokens) <= _GAPPED and _has(before, token)


def _says_the_opposite(claim: Clause, clause: Clause) -> bool:
    claimed, said = ({token.word.casefold() for token in each.tokens} for each in (claim, clause))
    return any(
        (one in claimed - said and other in said - claimed) or (other in claimed - said and one in said - claimed)
        for one, other in OPPOSITES
    )


def _doubt_about_markers(claim: _Claim, clause: Clause) -> Doubt | None:
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


def _numbers_fit(claim: _Claim, clause: Clause) -> bool:
    """Whether each number stands beside the same word on both sides."""
    for at, token in enumerate(claim.clause.tokens):
        if not token.number or token.free:
            continue
        if not any(
            _same(token, other) and _beside(claim.clause.tokens, at) & _beside(clause.tokens, place)
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


def _doubt_about_subject(
    claim: _Claim, subject: Sequence[Token], clause: Clause, turn: SaidTurn, language: Language
) -> Doubt | None:
    roles = [token.role for token in claim.subject if token.role]
    if Role.OWNER in roles and any(token.word.casefold() in WE for token in clause.tokens):
        subject = [token for token in subject if token.word.casefold() not in OWN_GROUPS]
    everywhere = [token.role for token in claim.clause.tokens if token.role]
    about_user = any(token.word.casefold().removesuffix("'s") in USER_WORDS for token in claim.clause.tokens)
    if about_user and not turn.by_user:
        return "speaker"
    own = [token.role for token in clause.tokens if token.role]
    if any(_owns_another(token, claim, clause) for token in subject):
        return "subject"
    if not _owners_fit(claim, clause):
        return "subject"
    if not subject and roles:
        return None if _speaker_is_subject(claim, clause, language) or _speaker_has(claim, clause) else "subject"
    if subject and not all(_has(clause, token) for token in subject):
        # "My sister flies"; "we met Eve, and she sings"
        before = clause.follows
        missing = [token for token in subject if not _has(clause, token)]
        owned = len(missing) < len(subject) and all(token.word.endswith("'s") for token in missing)  # "her cousin"
        goes_on = (_is_headless(claim, clause) and not clause.begins) or _begins_with_other(clause) or owned
        if before is None or not goes_on or not all(_has(before, token) or _has(clause, token) for token in subject):
            return "subject"
        if _is_other_thing(clause, before) and Marker.NEGATION not in claim.clause.markers:
            return "subject"
        return None
    if Role.SUBJECT in own and not everywhere:
        place = min(at for at, token in enumerate(clause.tokens) if token.role is Role.SUBJECT)
        first = min((_find(clause, token) or 0 for token in subject), default=0)
        if subject and place < first and language != "de":
            return "subject"
        if not subject:
            return "subject"
    return None


def _speaker_has(claim: _Claim, clause: Clause) -> bool:
    """Whether a claim says that somebody has what they call theirs: "our dog Bruno"."""
    words = [token.word.casefold() for token in claim.clause.tokens]
    thing = next((token for token in claim.predicate if token.content), None)
    if thing is None or not _HAS.intersection(words[:3]):
        return False
    at = _find(clause, thing)
    return bool(at) and clause.tokens[at - 1].role is Role.OWNER  # type: ignore[operator]


_HAS = frozenset(("has", "owns", "hat", "besitzt", "tiene"))


def _is_other_thing(clause: Clause, before: Clause) -> bool:
    """Whether "it" is not what was denied before: "it isn't the knee, it's the hip"."""
    it = ("it", "es")
    return Marker.NEGATION in before.markers and all(
        each.tokens and each.tokens[0].word.casefold() in it for each in (clause, before)
    )


def _owns_another(token: Token, claim: _Claim, clause: Clause) -> bool:
    """Whether somebody whom the claim is about only owns what the clause is about: "my cousin's wife"."""
    at = _find(clause, token)
    if at is None or not clause.tokens[at].word.endswith("'s") or token.word.endswith("'s"):
        return False
    owned = next((each for each in clause.tokens[at + 1 :] if each.content), None)
    return owned is not None and not any(_same(owned, each) for each in claim.clause.tokens)


def _owners_fit(claim: _Claim, clause: Clause) -> bool:
    """Whether what is the user's in the claim is not another's in the clause: "my brother's car"."""
    tokens = claim.clause.tokens
    for at, token in enumerate(tokens):
        if token.role is not Role.OWNER:
            continue
        after_it = tokens[at + 1] if at + 1 < len(tokens) else None
        before_it = next((each for each in reversed(tokens[:at]) if each.content), None)
        owned = after_it if after_it is not None and after_it.content else before_it
        if owned is None:
            continue
        place = _find(clause, owned)
        if place is None:
            continue
        before = clause.tokens[place - 1] if place else None
        if (
            before is not None
            and before.content
            and before.word.endswith("'s")
            and not any(_same(before, each) for each in tokens)
        ):
            return False
        after = [each for each in clause.tokens[place + 1 : place + 4] if each.role or each.content]
        if len(after) > 1 and after[0].role is Role.OWNER and not any(_same(after[1], each) for each in tokens):
            return clause.tokens[place + 1].word.casefold() not in ("of", "de", after[0].word.casefold())
    return True


def _speaker_is_subject(claim: _Claim, clause: Clause, language: Language) -> bool:
    """Whether "the user" in a claim, as who does something, is who does it in the clause."""
    own = [token.role for token in clause.tokens if token.role]
    if Role.SUBJECT in own:
        return True
    if language == "es" and not _names_who(clause) and not _goes_on_about_another(clause):
        return True
    if Role.OBJECT in own and language in ("es",):
        return True
    while clause.follows is not None and not clause.begins and _is_headless(claim, clause):
        clause = clause.follows
        if any(token.role is Role.SUBJECT for token in clause.tokens):
            return True
    # "No, Linux": an answer has no subject at all.
    return not any(token.role or token.word.casefold() in OTHER_PRONOUNS for token in clause.tokens) and (
        len([token for token in clause.tokens if token.content]) <= 2 and clause.follows is None
    )


def _names_who(clause: Clause) -> bool:
    """Whether a Spanish clause names somebody before its verb."""
    return any(token.thing for token in clause.tokens[:2])


def _goes_on_about_another(clause: Clause) -> bool:
    """Whether a Spanish clause says more of whom the one before names: "mi perro se llama Toby y tiene cinco"."""
    first = clause.tokens[0].word.casefold() if clause.tokens else ""
    speaks_of_oneself = first.endswith(("o", "é")) or first in _OF_ONESELF
    return clause.joined and clause.follows is not None and _names_who(clause.follows) and not speaks_of_oneself


_OF_ONESELF = frozenset(("soy", "estoy", "voy", "doy", "he", "me", "no", "nunca", "también"))


def _is_headless(claim: _Claim, clause: Clause) -> bool:
    """Whether nothing that could be a subject stands before what the claim says: "and leave on Sunday"."""
    for token in clause.tokens:
        if any(_same(each, token) for each in claim.predicate):
            return True
        if token.content or token.role or token.word.casefold() in OTHER_PRONOUNS:
            return False
    return False


def _begins_with_other(clause: Clause) -> bool:
    """Whether its subject is "she", "they", "who"; not "her cousin"."""
    for at, token in enumerate(clause.tokens):
        if token.word.casefold() in OTHER_PRONOUNS:
            after = clause.tokens[at + 1] if at + 1 < len(clause.tokens) else None
            return not (token.word.casefold() in _ALL_ARTICLES and after is not None and after.content)
        if token.content or token.role:
            return False
    return False


_NOMINATIVE = frozenset(("i", "we", "ich", "wir", "yo", "nosotros", "nosotras"))


def _in_order(claim: _Claim, clause: Clause) -> bool:
    """Whether people and things that are in both stand in the same order, but for what may stand anywhere."""
    places = []
    nominative = any(token.word.casefold() in _NOMINATIVE for token in clause.tokens)
    for number, token in enumerate(claim.clause.tokens):
        if token.role is not None and token.role is not Role.OWNER:
            if nominative and not any(each.content for each in claim.clause.tokens[:number]):
                continue  # "das Auto habe ich verkauft": wherever it stands, it is the subject
            places.append(
                next((at for at, each in enumerate(clause.tokens) if each.role in (Role.SUBJECT, Role.OBJECT)), None)
            )
        elif token.content and not token.free:
            at = _find(clause, token)
            other = clause.tokens[at] if at is not None else None
            if other is not None and token.to and token.to == other.to:
                continue  # "a Nuria" on both sides
            if other is not None and not other.free and (token.thing or other.thing or token.capital):
                places.append(at)
    known = [at for at in places if at is not None]
    return known == sorted(known)
