"""What is vital: an illness, an allergy, a danger of the user or of whom they care for, said in earnest.

The words are those of ``vital_words.json``. That one of them stands in a text says little: it counts where a clause
says it of somebody (a verb before it, "my" before it, or a phrase that says all of it), where that is nobody else's
(a colleague's, people's, an actor's), and where nothing denies, supposes, quotes, asks or only speaks about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from memsched.made_up import without_made_up
from memsched.memory.ingest.clauses import NOTHING_SAID, sentences_of
from memsched.memory.ingest.revision_words import found, language_of_pair
from memsched.memory.ingest.spelling import as_spelled
from memsched.memory.ingest.vital_words import (
    WORDS,
    has_word,
    kinds,
    may_be_vital,
    owned_here,
    pattern,
    phrases,
    phrases_by_begin,
    verbs,
)

_NEGATIONS = re.compile("|".join(WORDS["negations"].values()), re.IGNORECASE)
_NEGATED_BEFORE = 3
"""Words before one of these in which a "no" is about it: "no known allergies", "no tengo ninguna alergia"."""
_NEGATED_ZH = re.compile(WORDS["negations_zh"])
_STANDS_ALL_THE_SAME = re.compile(WORDS["exempt"], re.IGNORECASE)
"""Where "not" denies something else: not to forget an allergy is to have one."""
_CLAUSE_ENDS = re.compile(r"[,.;:!?\n\uff0c\u3002\uff1b\uff1a\uff01\uff1f\u3001]")
_CHUNK_ENDS = re.compile(
    r"[,;:\u2014()\uff0c\uff1b\uff1a\u3001]|\s[-\u2013]\s"
    r"|\b(?:but|and|because|so|since|aber|und|weil|denn|pero|y|porque|así que)\b",
    re.IGNORECASE,
)
_BROUGHT_ABOUT = ("allergy", "emergency")
"""Kinds of which a phrase may tell when: "if I pass out, call my wife"."""
_GAP = 5
"""Words between a verb and what it says of somebody."""
_NAMED_FOR = 3
"""Words of "my ..." that name whose it is."""
_SHORT = re.compile(r"\b(I|we|you|he|she|they|who)'(m|re|s|ve)\b", re.IGNORECASE)
"""A verb that is written in one word with its subject; not "my daughter's"."""
_WHO = re.compile(r"\b(?:who|whose|der|die|das|que|quien)\s+(?:[\w'\u2019]+\s+)?$", re.IGNORECASE)
_SHE_OR_HE = r"(?:Sr|Sra|Dr|Mr|Mrs|Ms|Prof)\.?\s+[A-Z]\w+"
_MY_OWN = re.compile(
    r"^(?:soy|estoy|tengo|padezco|sufro|tomo|llevo|necesito|uso|me|sigo|como|voy|\w+mos)\b", re.IGNORECASE
)
_OF_WHOM = re.compile(r"([\w-]+) (?:(?:de|of|von) \w+|(?:mein|unser)(?:es|er))$", re.IGNORECASE)
"""The boss of my cousin, el jefe de mi primo, der Chef meines Cousins: it is said of the boss."""
_RELATIVE = re.compile(r"\s*(?:der|die|das|dem|deren|dessen|que|quien)\s", re.IGNORECASE)
"""With which a piece begins that says more of whom the one before names: "mein Bruder, der"."""
Whose = Literal["theirs", "others", "somebody"]


def vital_kind(text: str, speaker: str = "") -> str:
    """Of which kind a statement is that must not be forgotten whatever the talk is about; "" if it is none.

    Args:
        speaker: who said it: what the assistant says is general talk.
    """
    if speaker == "assistant":
        return ""
    lang = language_of_pair(text, "")
    plain = as_spelled(text.replace("\u2019", "'"), lang)
    if not may_be_vital(plain, lang):
        return ""
    plain = _without_signs(without_made_up(plain), lang)
    kind = ""
    begun = 0
    for sentence, apart in sentences_of(plain, lang):
        if apart == "untold":  # what follows a role play's rule, or a story's title, is part of it
            break
        if apart == "question" and not kind and lang != "zh":
            kind = _presupposed(sentence, lang)
        if apart not in NOTHING_SAID and not kind:
            told = found("told", lang, pattern("doctors", lang).sub(" ", sentence))
            if not told:
                kind = _of_chinese(sentence) if lang == "zh" else _of_sentence(sentence, lang, plain[:begun], speaker)
        begun += len(sentence)
    return kind


def _without_signs(text: str, lang: str) -> str:
    """Without what is a sign of the zodiac and no illness, as blanks: "I'm a Cancer", "mein Sternzeichen ist Krebs"."""
    signs = pattern("signs", lang)
    if signs.search(text) is None:
        return text
    return pattern("zodiac", lang).sub(
        lambda match: signs.sub(lambda sign: " " * len(sign.group()), match.group()), text
    )


# -- with spaces -----------------------------------------------------------------------------------------------------


def _of_sentence(sentence: str, lang: str, before: str, speaker: str) -> str:
    whole = pattern("doctors", lang).sub(lambda match: " " * len(match.group()), sentence)
    sentence = _SHORT.sub(r"\1 '\2", whole)
    for kind, words_of_it in kinds(lang).items() if has_word(sentence, lang) else ():
        for match in words_of_it.finditer(sentence):
            if _is_denied(sentence, match.start()) or _only_spoken_about(sentence, match, lang):
                continue
            if kind == "allergy" and pattern("no_allergens", lang).search(_around(sentence, match)):
                continue
            if _is_mine(sentence, match, lang) and kind != "diet":
                return kind
            if _is_unreal(sentence, match, lang):
                continue
            if _is_said(sentence, match, lang, before, speaker, kind):
                return kind
    for kind in phrases_by_begin(lang).names_in(whole):
        for match in phrases(lang)[kind].finditer(whole):
            if _only_spoken_about(whole, match, lang) or _is_unreal(whole, match, lang, kind):
                continue
            inside = _whose(match.group(), lang, speaker)
            outside = _whose(before + whole[: match.start()], lang, speaker)
            if (inside if inside == "theirs" else outside) != "others":
                return kind
    return ""


def _presupposed(sentence: str, lang: str) -> str:
    """What a question takes for granted: "Can I take this with my blood thinner?"."""
    for kind in ("allergy", "illness"):
        for match in kinds(lang)[kind].finditer(sentence):
            owned = owned_here(lang).search(sentence[: match.start()])
            if owned is None or _others_in(owned.group(), lang) or pattern("alone", lang).match(match.group()):
                continue
            if not pattern("goes_on", lang).match(sentence[match.end() :].lstrip(" ")):
                return kind
    return ""


def _is_said(sentence: str, match: re.Match[str], lang: str, before: str, speaker: str, kind: str) -> bool:
    """Whether a verb says it of somebody of theirs."""
    head = sentence[: match.start()]
    chunk = head[_chunk_begins(head) :]
    if pattern("alone", lang).match(sentence[_chunk_begins(head) :]):
        return _whose(before + head, lang, speaker) != "others"
    verb = _verb_before(head, lang)
    if lang != "en" and len(chunk) < len(head) and _RELATIVE.match(chunk):
        return _whose(before + head[: len(head) - len(chunk)], lang, speaker) == "theirs"
    if chunk.startswith("   ") and _whose(chunk, lang, speaker) == "somebody":
        return True  # a doctor's word, which is blank
    if verb is None:
        return kind != "diet" and _is_of_whom_it_begins_with(chunk, lang, speaker)
    whose = _whose(before + head[: verb.start()], lang, speaker)
    if lang == "de" and _whose(head[verb.end() :], lang, speaker) == "theirs":
        return True
    if lang == "es" and _MY_OWN.match(verb.group()):
        return True
    if lang == "en" and whose == "somebody" and not chunk[: max(0, verb.start() - len(head) + len(chunk))].strip():
        return False  # a sentence that begins with its verb is an order, or a question
    if kind == "diet" and whose == "somebody" and not match.group().lower().startswith(("vegetari", "glutenfrei")):
        return False
    return whose != "others"


def _is_of_whom_it_begins_with(chunk: str, lang: str, speaker: str) -> bool:
    """Whether a piece of a sentence is about somebody of theirs, whatever its verb, and nothing sets apart the rest."""
    last = _last_subject(chunk, lang, speaker)
    if last is None or _whose(chunk, lang, speaker) != "theirs":
        return False
    gap = chunk[last.end() :]
    return len(gap.split()) <= _GAP + 1 and not pattern("apart", lang).search(gap)


def _last_subject(head: str, lang: str, speaker: str) -> re.Match[str] | None:
    last = None
    for match in _subjects(lang, speaker).finditer(head):
        last = match
    return last


def _verb_before(head: str, lang: str) -> re.Match[str] | None:
    """The last verb with no more than a few words after it, none of which sets apart what follows."""
    last = None
    for match in verbs(lang).finditer(head):
        gap = head[match.end() :]
        if len(gap.split()) <= _GAP and not _CLAUSE_ENDS.search(gap) and not pattern("apart", lang).search(gap):
            last = match if last is None or match.end() > last.end() else last
            break  # the first that reaches so far: "have been on"
    return last


def _is_mine(sentence: str, match: re.Match[str], lang: str) -> bool:
    """Whether it is "my ..." or "my daughter's ..."."""
    chunk = sentence[_chunk_begins(sentence[: match.start()]) : match.start()]
    last = None
    for mine in pattern("mine", lang).finditer(chunk):
        last = mine
    if last is None:
        return False
    gap = chunk[last.end() :]
    if len(gap.split()) > _NAMED_FOR or verbs(lang).search(gap) or pattern("apart", lang).search(gap):
        return False
    return not pattern("others", lang).search(gap)


def _whose(head: str, lang: str, speaker: str) -> Whose:
    """Whose what follows is: by the last of whom it may be told, before it."""
    last = _last_subject(head, lang, speaker)
    if last is None:
        return "somebody"
    after = head[last.end() :]
    if (who := _WHO.search(after)) is not None and lang == "en":
        antecedent = head[: last.end() + who.start()]
        own = last.lastgroup == "mine" and len(after[: who.start()].split()) < _NAMED_FOR
        return "theirs" if own or pattern("kin", lang).search(antecedent) else "others"
    if last.lastgroup == "pronoun":
        return _whose(head[: last.start()], lang, speaker)
    if last.lastgroup == "mine":
        if (owner := _OF_WHOM.search(head[: last.end()])) and pattern("others", lang).fullmatch(owner[1]):
            return "others"
        words_of_it = " ".join(after.split()[:_NAMED_FOR])
        return "others" if pattern("others", lang).match(words_of_it) or _others_in(words_of_it, lang) else "theirs"
    if last.lastgroup in ("own", "persons"):
        return "theirs"
    return "somebody" if last.lastgroup == "name" else "others"


def _others_in(words_of_it: str, lang: str) -> bool:
    cut = re.split(r"\b(?:who|whose|that|der|die|que)\b|[,.]", words_of_it)[0]
    return pattern("others", lang).search(cut) is not None


@lru_cache(maxsize=256)
def _subjects(lang: str, speaker: str) -> re.Pattern[str]:
    """Of whom something may be told; nouns and names where a clause begins with them."""
    begins = r"(?:(?<=[.!?,;:\n] )|^\s*|(?<=\band )|(?<=\bbut )|(?<=\bund )|(?<=\bwhat )|(?<=\bthat )|(?<=\by ))"
    own = WORDS["own"][lang] + (rf"|\b{re.escape(speaker)}\b" if speaker not in ("", "user") else "")
    name = r"[A-ZÄÖÜÁÉÍÓÚÑ][a-zäöüßáéíóúñ]+"
    ways = {
        "persons": rf"\b(?:{WORDS['persons'][lang]})\b",
        "own": own,
        "mine": rf"\b(?:{WORDS['mine'][lang]})\b",
        "pronoun": WORDS["pronouns"][lang],
        "generic": rf"{begins}(?:{WORDS['generic'][lang]})\b|\b(?:people|leute|menschen|personas)\b",
        "noun": rf"{begins}(?:{WORDS['nouns'][lang]})|\b(?:another|some) \w+",
        "full": rf"{begins}(?-i:{name} {name}|{_SHE_OR_HE})\b",
        "name": rf"{begins}(?-i:{name})(?= (?:{'|'.join(WORDS['says'][lang])}|\w+n't|never|no|nicht)\b)",
    }
    return re.compile("|".join(f"(?P<{each}>{way})" for each, way in ways.items()), re.IGNORECASE)


def _chunk_begins(head: str) -> int:
    return max((match.end() for match in _CHUNK_ENDS.finditer(head)), default=0)


def _around(sentence: str, match: re.Match[str]) -> str:
    """What else stands in its piece of the sentence."""
    after = _CHUNK_ENDS.search(sentence, match.end())
    before = sentence[_chunk_begins(sentence[: match.start()]) : match.start()]
    return f"{before} {sentence[match.end() : after.start() if after else len(sentence)]}"


def _is_unreal(sentence: str, match: re.Match[str], lang: str, of_phrase: str = "") -> bool:
    """Whether it is only supposed.

    Args:
        of_phrase: the kind, where a phrase says all of it: an "if" tells what brings it about ("if a wasp stings me").
    """
    around = _around(sentence, match)
    if of_phrase not in _BROUGHT_ABOUT and pattern("conditions", lang).search(around):
        return True
    return pattern("unreal", lang).search(around) is not None


def _only_spoken_about(sentence: str, match: re.Match[str], lang: str) -> bool:
    """Whether it is a topic, the first half of another word, or over by the end of the sentence."""
    after = sentence[match.end() :]
    if pattern("goes_on", lang).match(after.lstrip(" ")) or pattern("over", lang).search(after):
        return True
    if any(figure.start() <= match.start() < figure.end() for figure in pattern("figures", lang).finditer(sentence)):
        return True
    return pattern("about", lang).search(_around(sentence, match)) is not None


def _is_denied(text: str, at: int) -> bool:
    """Whether what begins there is said not to be. Two denials are none: "never without my insulin"."""
    clause = _CLAUSE_ENDS.split(text[:at])[-1]
    if _STANDS_ALL_THE_SAME.search(clause):
        return False
    denials = [_NEGATIONS.fullmatch(word) is not None for word in clause.split()]
    is_denied = any(denials[-_NEGATED_BEFORE:]) and sum(denials) % 2 == 1
    return is_denied or _NEGATED_ZH.search(clause) is not None


# -- Chinese ---------------------------------------------------------------------------------------------------------


def _of_chinese(sentence: str) -> str:
    unreal, about, conditions = (pattern(name, "zh") for name in ("unreal", "about", "conditions"))
    for kind, at, end, whole in _chinese_matches(sentence):
        clause_begins = max((match.end() for match in _CLAUSE_ENDS.finditer(sentence[:at])), default=0)
        clause = sentence[clause_begins : next((m.start() for m in _CLAUSE_ENDS.finditer(sentence, end)), None)]
        around = clause.replace(sentence[at:end], "", 1)
        if about.search(sentence[:clause_begins] + around) or pattern("over", "zh").search(sentence[end:]):
            continue
        if pattern("goes_on", "zh").match(sentence[end:]):
            continue
        if unreal.search(around) or (not (whole and kind in _BROUGHT_ABOUT) and conditions.search(around)):
            continue
        if not whole and _is_denied(sentence, at):
            continue
        head = sentence[:at]
        persons = list(pattern("persons", "zh").finditer(head))
        others = list(pattern("others", "zh").finditer(head))
        if others and (not persons or others[-1].end() > persons[-1].end() or others[-1].start() <= 1):
            continue
        if pattern("no_allergens", "zh").search(head):
            continue
        if persons or whole or verbs("zh").search(sentence[clause_begins:at]):
            return kind
    return ""


def _chinese_matches(sentence: str) -> Iterator[tuple[str, int, int, bool]]:
    for kind, words_of_it in kinds("zh").items():
        for match in words_of_it.finditer(sentence):
            yield kind, match.start(), match.end(), False
    for kind, ways in phrases("zh").items():
        for match in ways.finditer(sentence):
            yield kind, match.start(), match.end(), True
