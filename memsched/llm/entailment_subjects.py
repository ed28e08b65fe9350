"""Whom a claim is about: whether its subject is the clause's, and people and things stand in the same order.

For entailment.py, which holds a claim against the clauses of what was said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from memsched.llm.clauses import Language
from memsched.llm.entailment_words import (
    ARTICLES,
    DAYS,
    MONTHS,
    OTHER_PRONOUNS,
    OWN_GROUPS,
    PERSON_WORDS,
    USER_WORDS,
    WE,
    Marker,
)
from memsched.llm.tokens import Clause, Role, Token, has_word, is_same, place_of


@dataclass(slots=True)
class HeldClaim:
    """A clause of a claim: who it is about, and what it says of them.

    Args:
        subjects_of: by the numbers of clauses that were looked at, the clause that each has its subject from.
    """

    clause: Clause
    subject: list[Token] = field(default_factory=list)
    predicate: list[Token] = field(default_factory=list)
    subjects_of: dict[int, Clause] = field(default_factory=dict)


ALL_ARTICLES = frozenset(word for language in ("en", "de", "es") for word in ARTICLES[language])


def doubt_about_subject(
    claim: HeldClaim, subject: Sequence[Token], clause: Clause, language: Language, *, by_user: bool
) -> Literal["subject", "speaker"] | None:
    """Whom a claim is about, if that is not whom the clause is about; or that nobody but the user may be."""
    roles = [token.role for token in claim.subject if token.role]
    if Role.OWNER in roles and any(token.word.casefold() in WE for token in clause.tokens):
        subject = [token for token in subject if token.word.casefold() not in OWN_GROUPS]
    everywhere = [token.role for token in claim.clause.tokens if token.role]
    about_user = any(token.word.casefold().removesuffix("'s") in USER_WORDS for token in claim.clause.tokens)
    if about_user and not by_user:
        return "speaker"
    own = [token.role for token in clause.tokens if token.role]
    if any(_owns_another(token, claim, clause) for token in subject):
        return "subject"
    if not owners_fit(claim.clause.tokens, clause):
        return "subject"
    if not subject and roles:
        return None if _speaker_is_subject(claim, clause, language) or _speaker_has(claim, clause) else "subject"
    if subject and not all(has_word(clause, token) for token in subject):
        # "My sister flies"; "we met Eve, and she sings"
        before = clause.follows
        missing = [token for token in subject if not has_word(clause, token)]
        owned = len(missing) < len(subject) and all(token.word.endswith("'s") for token in missing)  # "her cousin"
        goes_on = (_is_headless(claim, clause) and not clause.begins) or _begins_with_other(clause) or owned
        if (
            before is None
            or not goes_on
            or not all(has_word(before, token) or has_word(clause, token) for token in subject)
        ):
            return "subject"
        if _is_other_thing(clause, before) and Marker.NEGATION not in claim.clause.markers:
            return "subject"
        return None
    if Role.SUBJECT in own and not everywhere:
        place = min(at for at, token in enumerate(clause.tokens) if token.role is Role.SUBJECT)
        first = min((place_of(clause, token) or 0 for token in subject), default=0)
        if subject and place < first and language != "de":
            return "subject"
        if not subject:
            return "subject"
    return None


def _speaker_has(claim: HeldClaim, clause: Clause) -> bool:
    """Whether a claim says that somebody has what they call theirs: "our dog Bruno"."""
    words = [token.word.casefold() for token in claim.clause.tokens]
    thing = next((token for token in claim.predicate if token.content), None)
    if thing is None or not _HAS.intersection(words[:3]):
        return False
    at = place_of(clause, thing)
    return bool(at) and clause.tokens[at - 1].role is Role.OWNER  # type: ignore[operator]


_HAS = frozenset(("has", "owns", "hat", "besitzt", "tiene"))


def _is_other_thing(clause: Clause, before: Clause) -> bool:
    """Whether "it" is not what was denied before: "it isn't the knee, it's the hip"."""
    it = ("it", "es")
    return Marker.NEGATION in before.markers and all(
        each.tokens and each.tokens[0].word.casefold() in it for each in (clause, before)
    )


def _owns_another(token: Token, claim: HeldClaim, clause: Clause) -> bool:
    """Whether somebody whom the claim is about only owns what the clause is about: "my cousin's wife"."""
    at = place_of(clause, token)
    if at is None or not clause.tokens[at].word.endswith("'s") or token.word.endswith("'s"):
        return False
    owned = next((each for each in clause.tokens[at + 1 :] if each.content), None)
    return owned is not None and not any(is_same(owned, each) for each in claim.clause.tokens)


def owners_fit(tokens: Sequence[Token], clause: Clause) -> bool:
    """Whether what is the user's in the claim is not another's in the clause: "my brother's car"."""
    for at, token in enumerate(tokens):
        if token.role is not Role.OWNER:
            continue
        after_it = tokens[at + 1] if at + 1 < len(tokens) else None
        before_it = next((each for each in reversed(tokens[:at]) if each.content), None)
        owned = after_it if after_it is not None and after_it.content else before_it
        if owned is None:
            continue
        place = place_of(clause, owned)
        if place is None:
            continue
        before = clause.tokens[place - 1] if place else None
        if (
            before is not None
            and before.content
            and before.word.endswith("'s")
            and not any(is_same(before, each) for each in tokens)
        ):
            return False
        after = [each for each in clause.tokens[place + 1 : place + 4] if each.role or each.content]
        if _is_of(clause.tokens[place + 1 : place + 4], owned) and not any(is_same(after[0], each) for each in tokens):
            return False
        if len(after) > 1 and after[0].role is Role.OWNER and not any(is_same(after[1], each) for each in tokens):
            return clause.tokens[place + 1].word.casefold() not in ("of", "de", after[0].word.casefold())
    return True


def _is_of(after: Sequence[Token], owned: Token) -> bool:
    """Whether somebody is said to be another person's: "die Mutter von Anna"."""
    if owned.word.casefold() not in PERSON_WORDS or not after or after[0].word.casefold() not in _OF:
        return False
    first = next((each for each in after[1:] if each.role or each.content), None)
    return first is not None and first.role is None and (first.capital or first.word.casefold() in PERSON_WORDS)


_OF = frozenset(("of", "von", "vom", "der", "des", "de", "del"))


def _speaker_is_subject(claim: HeldClaim, clause: Clause, language: Language) -> bool:
    """Whether "the user" in a claim, as who does something, is who does it in the clause."""
    own = [token.role for token in clause.tokens if token.role]
    if Role.SUBJECT in own:
        return True
    if language == "es" and not _names_who(clause) and not _goes_on_about_another(clause):
        return True
    if Role.OBJECT in own and language in ("es",):
        return True
    clause = _with_subject_of(claim, clause)
    if any(token.role is Role.SUBJECT for token in clause.tokens):
        return True
    # "No, Linux": an answer has no subject at all.
    return not any(token.role or token.word.casefold() in OTHER_PRONOUNS for token in clause.tokens) and (
        len([token for token in clause.tokens if token.content]) <= 2 and clause.follows is None
    )


def _with_subject_of(claim: HeldClaim, clause: Clause) -> Clause:
    """The clause before it, or itself, that names the subject: "I get up, have tea and leave". Each is passed once."""
    passed = []
    while (found := claim.subjects_of.get(clause.number)) is None:
        if clause.follows is None or clause.begins or not _is_headless(claim, clause):
            found = clause
            break
        passed.append(clause.number)
        clause = clause.follows
        if any(token.role is Role.SUBJECT for token in clause.tokens):
            found = clause
            break
    claim.subjects_of |= dict.fromkeys(passed, found)
    return found


def _names_who(clause: Clause) -> bool:
    """Whether a Spanish clause names somebody before its verb."""
    return any(token.thing for token in clause.tokens[:2])


def _goes_on_about_another(clause: Clause) -> bool:
    """Whether a Spanish clause says more of whom the one before names: "mi perro se llama Toby y tiene cinco"."""
    first = clause.tokens[0].word.casefold() if clause.tokens else ""
    speaks_of_oneself = first.endswith(("o", "é")) or first in _OF_ONESELF
    return clause.joined and clause.follows is not None and _names_who(clause.follows) and not speaks_of_oneself


_OF_ONESELF = frozenset(("soy", "estoy", "voy", "doy", "he", "me", "no", "nunca", "también"))


def _is_headless(claim: HeldClaim, clause: Clause) -> bool:
    """Whether nothing that could be a subject stands before what the claim says: "and leave on Sunday"."""
    for token in clause.tokens:
        if any(is_same(each, token) for each in claim.predicate):
            return True
        if token.content or token.role or token.word.casefold() in OTHER_PRONOUNS:
            return False
    return False


def _begins_with_other(clause: Clause) -> bool:
    """Whether its subject is "she", "they", "who"; not "her cousin"."""
    for at, token in enumerate(clause.tokens):
        if token.word.casefold() in OTHER_PRONOUNS:
            after = clause.tokens[at + 1] if at + 1 < len(clause.tokens) else None
            return not (token.word.casefold() in ALL_ARTICLES and after is not None and after.content)
        if token.content or token.role:
            return False
    return False


_NOMINATIVE = frozenset(("i", "we", "ich", "wir", "yo", "nosotros", "nosotras"))


def in_order(claim: HeldClaim, clause: Clause) -> bool:
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
            at = place_of(clause, token)
            other = clause.tokens[at] if at is not None else None
            if other is not None and token.to and token.to == other.to:
                continue  # "a Nuria" on both sides
            if other is not None and not other.free and (token.thing or other.thing or token.capital):
                places.append(at)
    known = [at for at in places if at is not None]
    return known == sorted(known)


def is_unclear(claim: HeldClaim, clause: Clause, language: Language) -> bool:
    """Whether a clause has all of a claim, and may say something else with it: only a model may tell.

    It sets one thing against another, names somebody else before the one who speaks, or its words stand otherwise.
    """
    return (
        Marker.RELATED in clause.markers - claim.clause.markers
        or (language == "de" and _begins_with_an_object(clause))
        or _another_is_before_the_speaker(claim, clause)
        or not _stand_alike(claim, clause, language)
    )


def _begins_with_an_object(clause: Clause) -> bool:
    """Whether a German sentence names first to whom somebody else did something: "den Tom hat die Anna verlassen"."""
    first = clause.tokens[0].word.casefold() if clause.begins and clause.tokens else ""
    return first in _ACCUSATIVE and all(token.role is not Role.SUBJECT for token in clause.tokens)


_ACCUSATIVE = frozenset(("den", "dem", "ihn", "ihm"))


def _another_is_before_the_speaker(claim: HeldClaim, clause: Clause) -> bool:
    at = next((at for at, token in enumerate(clause.tokens) if token.role is Role.SUBJECT), 0)
    return any(
        token.word.casefold() in _OTHERS or (token.word.casefold() in PERSON_WORDS and token.content)
        for token in clause.tokens[:at]
        if not any(is_same(token, each) for each in claim.clause.tokens)
    )


_OTHERS = frozenset("he she they er sie \u00e9l ella ellos ellas".split())


def _stand_alike(claim: HeldClaim, clause: Clause, language: Language) -> bool:
    """Whether what is in both stands in the same order, but for numbers and times; in German, what has a capital."""
    places = []
    for token in claim.clause.tokens:
        is_time = token.stem in MONTHS or token.word.casefold().removesuffix("s") in DAYS
        if token.content and not is_time and (language != "de" or token.capital):
            places.append(place_of(clause, token))
    known = [at for at in places if at is not None and clause.tokens[at].content]
    return known == sorted(known)
