"""Who or what a clause is about, by where its verb stands."""

from __future__ import annotations

import re
from functools import lru_cache

from memsched.memory.ingest.revision_words import (
    TOKEN,
    is_of_class,
    is_one,
    listed,
    norm,
    pattern,
    stemmed,
    stop_words,
    verbs,
)

OWN = "\x00own"
"""The speaker."""
IT = "\x00it"
"""Somebody or something that was named before."""
_MYSELF = re.compile(r"^\W*(?:(?:ya|no|ahora)\s+)*\w{2,}o\b|\b(?:me|nos)\s", re.IGNORECASE)
_LONGEST_SUBJECT = 4


def subject_of(piece: str, lang: str, words: frozenset[str]) -> tuple[frozenset[str], str]:
    """Who or what it is about, and the verb that follows; neither where no verb is known."""
    tokens = TOKEN.findall(_without_opening(piece, lang))
    if lang != "es" and tokens and is_one("speaks", lang, tokens[0].lower()) and not _has_own(tokens[:3], lang):
        return frozenset((OWN,)), _verb(tokens[0].lower(), tokens[1:], lang)  # "moved to Jena", "bin umgezogen"
    start = _start(tokens, lang)
    subject: list[str] = []
    verb = ""
    for number, said in enumerate(tokens[start:]):
        lower = said.lower()
        after = tokens[start + number + 1 :]
        if _is_verb(lower, said, lang, bool(subject), number):
            verb = _verb(lower, after, lang)
            break
        if is_one("own", lang, lower):
            subject.append(OWN)
            if lang == "en" and lower not in ("me", "us") and (not after or after[0].lower() != "and"):
                verb = _verb(
                    (lower.partition("'")[1:][1] and "'" + lower.partition("'")[2]) or "".join(after[:1]), after, lang
                )
                break
        elif is_one("it", lang, lower) and not subject:
            subject.append(IT)
            if "'" in lower:
                verb = _verb("'" + lower.partition("'")[2], after, lang)
                break
        elif lang == "de" and number == 0 and after and _is_pronoun(after[0].lower(), lang):
            continue  # a verb that stands first: "benutzen wir"
        elif lang == "es" and not number and is_one("changed", lang, lower):
            continue  # "cambiamos la clave"
        elif (word := norm(said, lang, not number)) and word in words and word[0] != "@":
            subject = [each for each in subject if each != IT] + [word]
        if len(subject) > _LONGEST_SUBJECT:
            return frozenset(), ""
    else:
        return frozenset({OWN} & set(subject)), ""
    if not subject and lang == "es" and is_spanish_own(piece):
        subject.append(OWN)
    return frozenset(subject), verb


def _has_own(tokens: list[str], lang: str) -> bool:
    return any(is_one("own", lang, each.lower()) for each in tokens)


def _is_pronoun(lower: str, lang: str) -> bool:
    return any(is_one(kind, lang, lower) for kind in ("own", "it"))


def _verb(lower: str, after: list[str], lang: str) -> str:
    if lower in listed("copulas", lang):
        return "is doing" if lang == "en" and after and after[0].lower().endswith("ing") else "is"
    return stemmed(lower, lang)


def _without_opening(piece: str, lang: str) -> str:
    """Without "well", "it turns out" and the like at its beginning."""
    while (match := _opening(lang).match(piece)) and match.end() < len(piece):
        piece = piece[match.end() :]
    return piece


@lru_cache(maxsize=8)
def _opening(lang: str) -> re.Pattern[str]:
    return re.compile(rf"\W*(?:{pattern('openers', lang).pattern}|{pattern('admits', lang).pattern})", re.IGNORECASE)


def _start(tokens: list[str], lang: str) -> int:
    """Where the subject begins: after a leading "on Monday"."""
    at = 0
    if at < len(tokens) and (
        tokens[at].lower() in listed("prepositions", lang) or is_one("now", lang, tokens[at].lower())
    ):
        for number in range(at + 1, len(tokens)):
            lower = tokens[number].lower()
            if lang == "en":
                if is_one("own", lang, lower) or is_one("it", lang, lower):
                    return number
                if number > at + 1 and (
                    lower in ("my", "our", "the", "his", "her")
                    or (tokens[number][0].isupper() and not is_one("when", lang, lower))
                ):
                    return number
            elif number > at + 1 and is_one("articles", lang, lower):
                return number
            elif lower in verbs(lang):
                return number + 1
    return at


def _is_verb(lower: str, said: str, lang: str, has_noun: bool, number: int) -> bool:
    if lower in verbs(lang) or any(is_of_class(name, lang, lower) for name in ("reside", "work", "weigh")):
        return lang == "es" or (has_noun if lang == "en" and lower == "work" else number > 0)
    if lang == "de":
        return (
            has_noun
            and said[0].islower()
            and re.fullmatch(r"\w{3,}(?:t|en|e)", lower) is not None
            and lower not in stop_words("de")
        )
    if lang == "es":
        return has_noun and re.fullmatch(r"\w{3,}(?:ó|aron|ieron)", lower) is not None
    if lang == "en":
        return (
            has_noun and re.fullmatch(r"[a-z]{2,}(?:[^s]s|ed)", lower) is not None and said[0].islower() and number > 0
        )
    return False


def is_spanish_own(piece: str) -> bool:
    """Whether it says "I" or "we" by its verb: "vivo", "ahora vivimos", "me mudé"."""
    if _MYSELF.search(piece):
        return True
    return any(is_one("speaks", "es", word) for word in piece.lower().split()[:4])
