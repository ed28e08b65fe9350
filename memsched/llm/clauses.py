"""Clauses: what was said, cut where a new verb begins, with what each word stands for and what changes the meaning.

By commas, conjunctions and word lists (entailment_words.py), in English, German and Spanish; no grammar is known.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Literal

import Stemmer

from memsched.lexicon import NUMBER_WORDS, OPENING_VERBS
from memsched.llm.entailment_words import (
    ARTICLES,
    CONJUNCTIONS,
    FREE_PREPOSITIONS,
    FUNCTION_WORDS,
    MARKERS,
    MONTHS_DE,
    NUMERALS,
    OBJECT_PRONOUNS,
    POSSESSIVES,
    QUESTION_OPENINGS,
    SAME_WORDS,
    SUBJECT_PRONOUNS,
    TO_WHOM,
    USER_WORDS,
    Marker,
)
from memsched.llm.quotations import without_quotations
from memsched.llm.tokens import Clause, Role, Token
from memsched.told_as_question import as_told

Language = Literal["en", "de", "es"]
LANGUAGES: tuple[Language, ...] = ("en", "de", "es")
_STEMMERS = {"en": "english", "de": "german", "es": "spanish"}
_WORKS_AS = re.compile(r"\b(?:works? as|arbeitet als|trabaja (?:como|de))\b", re.IGNORECASE)
_OF_ONES_OWN = re.compile(r"\bthe ([a-z]+) of (the user's [a-z]+)\b", re.IGNORECASE)
"""The wife of the user's cousin is the user's cousin's wife."""
_IS: dict[Language, str] = {"en": "is", "de": "ist", "es": "es"}
"""Whose work something is, is that."""
_LETTERS = {
    "en": re.compile(r"(?!)"),
    "de": re.compile("[\u00e4\u00f6\u00fc\u00df]"),
    "es": re.compile("[\u00e1\u00e9\u00ed\u00f3\u00fa\u00f1\u00bf\u00a1]"),
}
_HALF = {
    "en": (re.compile(r"\bhalf past (\w+)\b", re.IGNORECASE), 0),
    "de": (re.compile(r"\bhalb (\w+)\b", re.IGNORECASE), -1),
    "es": (re.compile(r"\b(\w+) y media\b", re.IGNORECASE), 0),
}
"""Half an hour after an hour; in German, of the one before."""
_OF_A_SENTENCE = frozenset((Marker.CONDITION, Marker.RELATED))
"""What counts for all clauses of a sentence."""
_LONGEST_HOUR = 9
"""Digits: of a longer number there is no half hour."""
_LONGEST_BEGINNING = 40
"""Words that "but the piano" may take over from what was denied before it; in a long list each would take one more."""
_OF_ELN = re.compile(r"(?<=[a-z][b-df-hj-np-tv-z])elt$")
"""He "pendelt" where they say "ich pendle"."""
_DAY_AND_MONTH = re.compile(r"(?<![\d.])([12]?\d|3[01])\.(0?[1-9]|1[0-2])\.(?!\d)")
"""7.11. is the seventh of November."""
_SENTENCE = re.compile(r"[^.!?;\u2026\n]*(?:\.(?=\w)[^.!?;\u2026\n]*)*[.!?;\u2026\n]*")
_WORD = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:[-'][^\W\d_]+)*|[,\u2014:()\u2013]|\s-\s")
_ANY_LANGUAGE = (
    (re.compile(r"(?<=\d),(?=\d{3}\b)"), ""),
    (re.compile(r"(?<=\d)(?:st|nd|rd|th)\b"), ""),
    (re.compile(r"\b(?:as )?it turn(?:s|ed) out,?(?: that)?\b|^turn(?:s|ed) out,?(?: that)?\b", re.IGNORECASE), ""),
    (re.compile(r"\bes stellt\w* sich heraus, dass\b|\bresulta que\b|\b\u539f\u6765", re.IGNORECASE), ""),
    (re.compile(r"(?<=\w) (?:years? old|years? of age|jahre alt)\b", re.IGNORECASE), ""),
)
_SPLIT_CONTRACTIONS = (
    (re.compile(r"\b(ca|wo|sha)n't\b", re.IGNORECASE), r"\1n not"),
    (re.compile(r"n't\b|\b(?<=[a-z])nt\b(?<=dont|esnt|idnt)", re.IGNORECASE), " not"),
    (re.compile(r"\bcannot\b", re.IGNORECASE), "can not"),
    (re.compile(r"\bcan not (?:stand|bear)\b", re.IGNORECASE), "dislike"),
    (re.compile(r"(?<=\w)'(m|re|ve|ll)\b", re.IGNORECASE), r" \1"),
    (re.compile(r"\b(he|she|it|that|who|there|here)'s\b", re.IGNORECASE), r"\1 is"),
    (re.compile(r"\b(i|we|you|he|she|they)'d\b", re.IGNORECASE), r"\1 would"),
    (re.compile(r"(?<=\d)\s+(am|pm)\b", re.IGNORECASE), r" \1clock"),
    (re.compile(r"(?<=\d)(am|pm)\b", re.IGNORECASE), r" \1clock"),
)


@lru_cache(maxsize=8192)
def _stem(word: str, language: Language) -> str:
    plain = "".join(sign for sign in unicodedata.normalize("NFD", word) if not unicodedata.combining(sign))
    plain = plain.replace("ß", "ss")
    word = SAME_WORDS.get(word, SAME_WORDS.get(plain, plain))
    if language == "de":
        word = _OF_ELN.sub("le", word)
    return str(Stemmer.Stemmer(_STEMMERS[language], 0).stemWord(word))


def language_of(text: str, otherwise: Language | None = None) -> Language:
    """By its function words.

    Args:
        otherwise: the language that it is in unless two words speak for another one.
    """
    words = {word.casefold() for word in _WORD.findall(text)}
    only = {language: len(words & _own_words(language)) for language in LANGUAGES}
    if not any(only.values()):  # "Llevo seis a\u00f1os siendo vegano": by its letters
        only = {language: len(_LETTERS[language].findall(text)) for language in LANGUAGES}
    best = max(LANGUAGES, key=lambda each: only[each])
    return best if otherwise is None or only[best] >= only[otherwise] + 2 else otherwise


@cache
def _own_words(language: Language) -> frozenset[str]:
    """The function words that no other language has."""
    return FUNCTION_WORDS[language].difference(*(FUNCTION_WORDS[each] for each in LANGUAGES if each != language))


def _as_claimed(text: str, language: Language) -> str:
    """A claim in the words that are compared."""
    return _OF_ONES_OWN.sub(r"\2's \1", _WORKS_AS.sub(_IS[language], text))


def _with_half_hours(text: str, language: Language) -> str:
    pattern, later = _HALF[language]

    def written(match: re.Match[str]) -> str:
        hour = _number(match[1].casefold(), language) or match[1]
        is_hour = hour.isdecimal() and len(hour) <= _LONGEST_HOUR and int(hour)
        return f"{int(hour) + later}:30" if is_hour else match[0]

    return pattern.sub(written, text)


def _number(word: str, language: Language) -> str | None:
    return NUMERALS[language].get(word, NUMBER_WORDS.get(word) if language == "en" else None)


def clauses_of(text: str, language: Language, names: Iterable[str], *, claimed: bool = False) -> Iterator[Clause]:
    """The clauses of a text.

    Args:
        names: of the one who speaks: in a claim, that is who it is about.
        claimed: whether it is a claim, in which "the user" is the one who speaks, and not "I".
    """
    plain = unicodedata.normalize("NFKC", text)
    plain = plain.replace("\u2019", "'").replace("\u2018", "'").replace("\u02bc", "'")
    plain = _with_half_hours(plain, language)
    if language == "de":
        plain = _DAY_AND_MONTH.sub(lambda match: f"{match[1]} {MONTHS_DE[int(match[2]) - 1]}", plain)
    plain = _as_claimed(plain, language) if claimed else as_told(without_quotations(plain))
    for pattern, replacement in (*_ANY_LANGUAGE, *(_SPLIT_CONTRACTIONS if language == "en" else ())):
        plain = pattern.sub(replacement, plain)
    known = {word.casefold() for name in names for word in _WORD.findall(name)}
    previous: Clause | None = None
    for sentence in _SENTENCE.findall(plain):
        asks = sentence.rstrip().endswith("?") or "\u00bf" in sentence
        words = _WORD.findall(sentence)
        if not words:
            continue
        clauses: list[Clause] = []
        begin, joined = 0, False
        for at in range(len(words) + 1):
            word = words[at].casefold() if at < len(words) else ","
            if word in CONJUNCTIONS[language] or not word[:1].isalnum():
                if at > begin:
                    part = words[begin:at]
                    tokens = list(_tokens(part, language, known, claimed, begin == 0))
                    if clauses and not joined and _goes_on(tokens, part, language):
                        clauses[-1].tokens += tokens
                        begin = at + 1
                        continue
                    if not claimed and not any(token.content or token.role or token.number for token in tokens):
                        begin = at + 1  # "No, ..."
                        continue
                    clause = Clause(tokens, _markers(part, language), asks, previous, not clauses, joined)
                    if joined and previous is not None and not claimed:
                        _complete(clause, previous)
                    if language == "de" and clauses and _is_infinitive(part, tokens):
                        clause.markers |= clauses[-1].markers  # "Ich habe aufgehört, Fleisch zu essen"
                    clauses.append(clause)
                    previous, joined = clause, False
                joined = joined or word in CONJUNCTIONS[language]
                begin = at + 1
        conditions = _OF_A_SENTENCE & {marker for clause in clauses for marker in clause.markers}
        _ask_from_its_opening(clauses)
        for clause in clauses:
            clause.markers |= conditions
            yield clause


def _ask_from_its_opening(clauses: Sequence[Clause]) -> None:
    """What stands before a question of its own is stated: "We fly on Friday, can you remind me?"."""
    opens = [bool(each.tokens) and each.tokens[0].word.casefold() in QUESTION_OPENINGS for each in clauses]
    if True in opens[1:] and not opens[0]:
        for clause in clauses[: opens.index(True)]:
            clause.asks = False


def _goes_on(tokens: Sequence[Token], part: Sequence[str], language: Language) -> bool:
    """Whether a part between commas has no verb, but goes on with the clause before: ", Rex," or ", on Sunday"."""
    content = [token for token in tokens if token.content]
    if any(token.role for token in tokens) or not 1 <= len(content) <= 2:
        return False
    if part[0].casefold() in FREE_PREPOSITIONS[language]:
        return True
    return language != "de" and len(content) == len(tokens) and all(token.capital for token in content)


def _is_infinitive(part: Sequence[str], tokens: Sequence[Token]) -> bool:
    """Whether a German part is what somebody stops, tries or forgets to do."""
    return len(part) > 1 and part[-2].casefold() == "zu" and not any(token.role is Role.SUBJECT for token in tokens)


def _complete(clause: Clause, before: Clause) -> None:
    """What is only named after a "but" has the verb of what was denied: "I don't play the violin but the piano"."""
    bare = not any(token.role for token in clause.tokens) and sum(token.content for token in clause.tokens) <= 2
    if bare and Marker.NEGATION in before.markers:
        at = next((at for at, token in enumerate(before.tokens) if token.negation), 0)
        if at > _LONGEST_BEGINNING:
            return
        verb = next((token for token in before.tokens[at + 1 :] if token.content), None)
        clause.tokens = [*before.tokens[:at], *([verb] if verb is not None else []), *clause.tokens]


def _markers(words: Sequence[str], language: Language) -> set[Marker]:
    text = f" {' '.join(words)} "
    lower = text.casefold()
    found = set()
    for marker, pattern in MARKERS[language].items():
        # "May" is a month.
        if pattern.search(text if marker is Marker.UNSURE and language == "en" and " May " in text else lower):
            found.add(marker)
    return found


def _tokens(words: Sequence[str], language: Language, names: set[str], claimed: bool, first: bool) -> Iterator[Token]:
    before = ""
    for at, word in enumerate(words):
        lower = word.casefold()
        owner = lower.endswith("'s")
        bare = lower.removesuffix("'s")
        capital = word[:1].isupper() and not (first and at == 0 and (not claimed or lower in OPENING_VERBS))
        role = None
        if claimed and (bare in USER_WORDS or bare in names or (language == "de" and bare.removesuffix("s") in names)):
            next_word = words[at + 1].casefold() if at + 1 < len(words) else ""
            owned = owner or before in ("del", "des") or (bare not in USER_WORDS and bare not in names)
            role = Role.OWNER if owned or next_word == "'s" else Role.SUBJECT
        elif not claimed and lower in SUBJECT_PRONOUNS[language]:
            role = Role.SUBJECT
        elif not claimed and lower in OBJECT_PRONOUNS[language]:
            role = Role.OBJECT
        elif not claimed and (lower in POSSESSIVES[language] or bare in names):
            role = Role.OWNER
        number = _number(lower, language)
        if lower.endswith("clock") and before[:1].isdigit():
            number = lower
        elif word[0].isdigit():
            number = word.replace(",", ".").lstrip("0") or "0"
        named = at > 0 and capital and language != "de" and not word.isupper()  # "Will" inside a sentence
        content = role is None and number is None and (named or lower not in FUNCTION_WORDS[language])
        previous_frees = before in FREE_PREPOSITIONS[language]
        after_article = before in ARTICLES[language] or before in POSSESSIVES[language] or before.endswith("'s")
        free = previous_frees or (after_article and at > 1 and words[at - 2].casefold() in FREE_PREPOSITIONS[language])
        yield Token(
            word,
            number if number is not None else _stem(bare, language),
            content,
            number is not None,
            role,
            content and (after_article or capital),
            free,
            capital,
            MARKERS[language][Marker.NEGATION].fullmatch(lower) is not None,
            before if before in TO_WHOM else "",
        )
        before = lower
