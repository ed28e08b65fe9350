"""Entailment of short answers: "0736", asked for the last digits; "no", asked whether they smoke.

A claim is held against the question and the answer together: the question names what the answer is of. What the answer
says, and numbers and names, must be the answer's own; a claim says no if the answer does.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence, Set
from functools import lru_cache
from pathlib import Path

from memsched.llm.clauses import Language, clauses_of, language_of
from memsched.llm.entailment_chinese import KIN, in_digits, in_one_way, meaning_signs
from memsched.llm.entailment_words import LIGHT_WORDS, MARKERS, PERSON_WORDS, Marker
from memsched.llm.tokens import Token

_LONGEST = 8
"""Words of a short answer."""
_BARE = 3
"""Words of an answer without a verb."""
_LONGEST_UNSPACED = 12
_LIGHT_SIGNS = frozenset("\u662f\u4e3a\u53eb\u6709\u5728\u53f7\u540d\u5b57\u751f\u4e0d\u6ca1\u65e0\u4f1a\u8981")
"""What a claim may say besides: is, has, is called, not."""
_ASKING_SIGNS = frozenset("\u4f60\u60a8\u5417\u5462\u554a\u7684\u4e86\uff1f?")
_MEASURES = [
    (re.compile(pattern), frozenset(signs))
    for pattern, signs in json.loads(Path(__file__).with_name("role_words.json").read_text(encoding="utf-8"))[
        "measures"
    ]
]
"""Questions of how old or tall somebody is, and what a claim may say besides: years of age, metres."""
_SHARE = 0.6
"""Of a claim's words that the question and the answer have."""
_WORDS = json.loads(Path(__file__).with_name("answer_words.json").read_text(encoding="utf-8"))
_NO, _YES, _YES_FIRST, _TAKEN_BACK, _OR = (
    re.compile(_WORDS[name], re.IGNORECASE) for name in ("no", "yes", "yes_first", "taken_back", "or")
)
_YOU, _YOUR, _UNSURE_UNSPACED = (re.compile(_WORDS[name]) for name in ("you", "your", "unsure_unspaced"))
_ABOUT_SOMEBODY, _ABOUT_ANYBODY, _OPENERS = (
    frozenset(_WORDS[name]) for name in ("about_somebody", "about_anybody", "openers")
)
_UNSURE = (Marker.UNSURE, Marker.CONDITION, Marker.REPORTED)
_NEGATION_UNSPACED = re.compile("\u4e0d|\u6ca1|\u65e0|\u672a")


def is_answer(claim: str, asked: str, answer: str) -> bool:
    """Whether a claim tells what somebody answered in a few words."""
    if not asked or len(answer.split()) > _LONGEST or answer.rstrip().endswith("?"):
        return False
    language, question, said = _exchange(asked, answer)
    claimed = [token for each in clauses_of(claim, language, (), claimed=True) for token in each.tokens]
    wanted = [token for token in claimed if (token.content and token.stem not in LIGHT_WORDS) or token.number]
    own = [token for token in said if token.content or token.number]
    lower = f" {answer.casefold()} "
    if not wanted or any(MARKERS[language][marker].search(lower) for marker in _UNSURE):
        return False
    denies = any(token.negation for token in claimed)
    if denies != (_NO.match(answer) is not None):
        return False
    agrees = _YES.match(answer) is not None or _says_yes_first(answer, said)
    if agrees and any(token.negation for token in question):
        return False  # "You don't smoke, right?"
    if _is_of_another(question, claimed, asked):
        return False
    own = [] if agrees else own
    if not own and _OR.search(asked):
        return False
    if not own and not (_NO.match(answer) or agrees):
        return False
    if own and not any(_same(token, each) for token in wanted for each in own):
        return False
    known = [*question, *said]
    missing = [token for token in wanted if not any(_same(token, each) for each in known)]
    if any(token.number or token.thing or (token.capital and language != "de") for token in missing):
        return False
    # only the verb may be another word, and what nothing is told by
    return missing in ([], wanted[:1]) and len(wanted) - len(missing) >= _SHARE * len(wanted)


def _is_of_another(question: Sequence[Token], claimed: Sequence[Token], asked: str) -> bool:
    """Whether a question is about somebody whom the claim leaves out: "how old is your son?"."""
    words = [token.word.casefold() for token in question]
    if not _ABOUT_ANYBODY.isdisjoint(words) or (not _ABOUT_SOMEBODY.isdisjoint(words) and not _YOU.search(asked)):
        return True
    claims = {token.stem for token in claimed}
    subjects = [
        token
        for before, token in zip(["", *words], question, strict=False)
        if (_folded(token) in PERSON_WORDS and (before in _OPENERS or _YOUR.fullmatch(before)))
        or (token.capital and before in _OPENERS)
    ]
    return any(token.stem not in claims for token in subjects)


def _folded(token: Token) -> str:
    plain = unicodedata.normalize("NFD", token.word.casefold().removesuffix("'s"))
    return "".join(sign for sign in plain if not unicodedata.combining(sign))


def _says_yes_first(answer: str, said: Sequence[Token]) -> bool:
    """Whether it says yes, and then something that takes none of it back: "Yes, since last autumn"."""
    is_first = _YES_FIRST.match(answer) is not None and _TAKEN_BACK.search(answer) is None
    return is_first and not any(token.negation for token in said)


def is_of_another(claim: str, asked: str, answer: str) -> bool:
    """Whether a claim leaves out whom a question is about that a word or two answer: "What is your dog called?"."""
    if not asked or len(answer.split()) > _BARE:
        return False
    language, question, said = _exchange(asked, answer)
    claimed = [token for each in clauses_of(claim, language, (), claimed=True) for token in each.tokens]
    return not any(token.role for token in said) and _is_of_another(question, claimed, asked)


def is_chinese_answer(claim: str, asked: str, answer: str) -> bool:
    """The same in Chinese, by signs."""
    if not asked or len(answer) > _LONGEST_UNSPACED or answer.rstrip().endswith(("?", "\uff1f")):
        return False
    if _UNSURE_UNSPACED.search(answer) or any(kin in asked and kin not in claim for kin in KIN):
        return False
    no = _NO.match(answer) is not None
    if no != (_NEGATION_UNSPACED.search(claim) is not None):
        return False
    plain = [in_one_way(unicodedata.normalize("NFKC", each)) for each in (claim, asked, answer)]
    wanted, question, said = (meaning_signs(each.replace("\u7528\u6237", "")) for each in plain)
    numbers = set(re.findall(r"\d+", in_digits(plain[0])))
    if numbers - set(re.findall(r"\d+", in_digits(plain[2]))) or not wanted:
        return False
    agrees = _YES.match(answer) or (_YES_FIRST.match(answer) and not _TAKEN_BACK.search(answer))
    agrees = agrees and set(question) <= set(wanted) | _LIGHT_SIGNS | _ASKING_SIGNS
    if not said.strip() or not (set(said) & set(wanted) or no or agrees):
        return False
    return set(wanted) <= set(question) | set(said) | _LIGHT_SIGNS | _measured(asked, claim)


def _measured(asked: str, claim: str) -> Set[str]:
    """What a claim may say of a number besides, by what was asked of whom."""
    for pattern, signs in _MEASURES:
        if (found := pattern.search(asked)) and (not found["whose"] or found["whose"] in KIN):
            return signs if found["whose"] in claim else frozenset()
    return frozenset()


@lru_cache(maxsize=16)
def _exchange(asked: str, answer: str) -> tuple[Language, list[Token], list[Token]]:
    """The language of a question and its answer, and the words of both: of one answer many things are claimed."""
    language = language_of(f"{asked} {answer}")
    return language, _tokens(asked.rstrip("?").lstrip("\u00bf"), language), _tokens(answer, language)


def _tokens(text: str, language: Language) -> list[Token]:
    return [token for clause in clauses_of(text, language, ()) for token in clause.tokens]


def _same(one: Token, other: Token) -> bool:
    return one.stem == other.stem and one.number == other.number
