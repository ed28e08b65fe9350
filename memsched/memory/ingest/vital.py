"""What is vital: an illness, an allergy, a danger of the user or of whom they care for, said in earnest.

The words are those of ``vital_words.json``. That one of them stands in a text says little: it counts where a clause
says it of somebody (a verb before it, "my" before it, or a phrase that says all of it), where that is nobody else's
(a colleague's, people's, an actor's), and where nothing denies, supposes, quotes, asks or only speaks about it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

from memsched.lexicon import is_without_spaces
from memsched.memory.ingest.clauses import NOTHING_SAID, sentences_of
from memsched.memory.ingest.revision_words import found, language_of_pair

_WORDS: dict[str, Any] = json.loads(
    files("memsched.memory.ingest").joinpath("vital_words.json").read_text(encoding="utf-8")
)
_NEGATIONS = re.compile("|".join(_WORDS["negations"].values()), re.IGNORECASE)
_NEGATED_BEFORE = 3
"""Words before one of these in which a "no" is about it: "no known allergies", "no tengo ninguna alergia"."""
_NEGATED_ZH = re.compile(_WORDS["negations_zh"])
_STANDS_ALL_THE_SAME = re.compile(_WORDS["exempt"], re.IGNORECASE)
"""Where "not" denies something else: not to forget an allergy is to have one."""
_CLAUSE_ENDS = re.compile(r"[,.;:!?\n\uff0c\u3002\uff1b\uff1a\uff01\uff1f\u3001]")
_CHUNK_ENDS = re.compile(
    r"[,;:\u2014()\uff0c\uff1b\uff1a\u3001]|\s[-\u2013]\s"
    r"|\b(?:but|and|because|so|since|aber|und|weil|denn|pero|y|porque|así que)\b",
    re.IGNORECASE,
)
_GAP = 5
"""Words between a verb and what it says of somebody."""
_NAMED_FOR = 3
"""Words of "my ..." that name whose it is."""
_SHORTEST_PIECE = 5
"""Letters of a piece that is looked for anywhere in a text; what is shorter is looked for as a word."""
_SHORT = re.compile(r"\b(I|we|you|he|she|they|who)'(m|re|s|ve)\b", re.IGNORECASE)
"""A verb that is written in one word with its subject; not "my daughter's"."""
_KIN = re.compile(
    r"\b(?:son|daughter|child|kid|kids|children|baby|twins?|wife|husband|partner|girlfriend|boyfriend|mother|father|"
    r"brother|sister|dog|cat|niece|nephew|grandson|granddaughter|Sohn|Tochter|Kind|Kinder|Frau|Mann|Hund|Katze|"
    r"hij[oa]s?|marido|mujer|perro|gato)\W*$",
    re.IGNORECASE,
)
_WHO = re.compile(r"\b(?:who|whose|der|die|das|que|quien)\s+(?:[\w'\u2019]+\s+)?$", re.IGNORECASE)
_ALONE = re.compile(
    r"^\W*(?:(?:oh|ah|ok|btw|also|and|by the way|severely|highly|very|still)\W+)*"
    r"(?:(?:allergic to|diabetic|asthmatic|pregnant|celiac|coeliac|epileptic|lactose intolerant|gluten intolerant)\b)",
    re.IGNORECASE,
)
_OWN = {
    "en": r"\b(?:i|we)\b(?:['\u2019]\w+)?|\bim\b|\bme\b|\bus\b",
    "de": r"\b(?:ich|wir|mir|uns|mich)\b",
    "es": r"\b(?:yo|nosotr[oa]s|me|nos)\b",
}
_PRONOUNS = {
    "en": r"\b(?:he|she|they)\b(?:['\u2019]\w+)?",
    "de": r"\b(?:er|sie)\b",
    "es": r"\b(?:él|ella|ellos|ellas)\b",
}
_SHE_OR_HE = r"(?:Sr|Sra|Dr|Mr|Mrs|Ms|Prof)\.?\s+[A-Z]\w+"
_NOUNS = {
    "en": r"(?:the|an?|this|that|these|those|some|any|his|her|their|your|its|every|each|all)\s+[\w-]+|[a-z]+s\s+with\b",
    "de": r"(?:der|die|das|dem|den|ein|eine|dieser|diese|jeder|jede|sein|seine|ihr|ihre|dein|deine)\s+[\w-]+",
    "es": r"(?:el|la|los|las|un|una|este|esta|ese|esa|su|sus|tu|tus|cada)\s+[\w-]+",
}
_MY_OWN = re.compile(
    r"^(?:soy|estoy|tengo|padezco|sufro|tomo|llevo|necesito|uso|me|sigo|como|voy|\w+mos)\b", re.IGNORECASE
)
_WORD = re.compile(r"\w+")
_NO_LETTERS = re.compile(r"\(.*?\)\??|\[.*?\]|\w?\?|\*|\||\W")
Whose = Literal["theirs", "others", "somebody"]


def vital_kind(text: str, speaker: str = "") -> str:
    """Of which kind a statement is that must not be forgotten whatever the talk is about; "" if it is none.

    Args:
        speaker: who said it: what the assistant says is general talk.
    """
    if speaker == "assistant" or not _may_be_vital(text):
        return ""
    lang = language_of_pair(text, "")
    plain = text.replace("\u2019", "'")
    kind = ""
    begun = 0
    for sentence, apart in sentences_of(plain, lang):
        if apart == "untold":  # what follows a role play's rule, or a story's title, is part of it
            break
        if apart not in NOTHING_SAID and not kind:
            told = found("told", lang, _pattern("doctors", lang).sub(" ", sentence))
            if not told:
                kind = _of_chinese(sentence) if lang == "zh" else _of_sentence(sentence, lang, plain[:begun], speaker)
        begun += len(sentence)
    return kind


# -- with spaces -----------------------------------------------------------------------------------------------------


def _of_sentence(sentence: str, lang: str, before: str, speaker: str) -> str:
    sentence = _SHORT.sub(r"\1 '\2", sentence)
    sentence = _pattern("doctors", lang).sub(lambda match: " " * len(match.group()), sentence)
    for kind, words_of_it in _kinds(lang).items():
        for match in words_of_it.finditer(sentence):
            if _is_denied(sentence, match.start()) or _only_spoken_about(sentence, match, lang):
                continue
            if _is_mine(sentence, match, lang) and kind != "diet":
                return kind
            if _is_unreal(sentence, match, lang):
                continue
            if _is_said(sentence, match, lang, before, speaker, kind):
                return kind
    for kind, phrases in _phrases(lang).items():
        for match in phrases.finditer(sentence):
            if _only_spoken_about(sentence, match, lang) or _is_unreal(sentence, match, lang):
                continue
            inside = _whose(match.group(), lang, speaker)
            outside = _whose(before + sentence[: match.start()], lang, speaker)
            if (inside if inside == "theirs" else outside) != "others":
                return kind
    return ""


def _is_said(sentence: str, match: re.Match[str], lang: str, before: str, speaker: str, kind: str) -> bool:
    """Whether a verb says it of somebody of theirs."""
    head = sentence[: match.start()]
    chunk = head[_chunk_begins(head) :]
    if lang == "en" and _ALONE.match(sentence[_chunk_begins(head) :]):
        return _whose(before + head, lang, speaker) != "others"
    verb = _verb_before(head, lang)
    if verb is None:
        return False
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


def _verb_before(head: str, lang: str) -> re.Match[str] | None:
    """The last verb with no more than a few words after it, none of which sets apart what follows."""
    last = None
    for match in _verbs(lang).finditer(head):
        gap = head[match.end() :]
        if len(gap.split()) <= _GAP and not _CLAUSE_ENDS.search(gap) and not _pattern("apart", lang).search(gap):
            last = match if last is None or match.end() > last.end() else last
            break  # the first that reaches so far: "have been on"
    return last


def _is_mine(sentence: str, match: re.Match[str], lang: str) -> bool:
    """Whether it is "my ..." or "my daughter's ..."."""
    chunk = sentence[_chunk_begins(sentence[: match.start()]) : match.start()]
    last = None
    for mine in _pattern("mine", lang).finditer(chunk):
        last = mine
    if last is None:
        return False
    gap = chunk[last.end() :]
    if len(gap.split()) > _NAMED_FOR or _verbs(lang).search(gap) or _pattern("apart", lang).search(gap):
        return False
    return not _pattern("others", lang).search(gap)


def _whose(head: str, lang: str, speaker: str) -> Whose:
    """Whose what follows is: by the last of whom it may be told, before it."""
    last: re.Match[str] | None = None
    for match in _subjects(lang, speaker).finditer(head):
        last = match
    if last is None:
        return "somebody"
    after = head[last.end() :]
    if (who := _WHO.search(after)) is not None and lang == "en":
        antecedent = head[: last.end() + who.start()]
        own = last.lastgroup == "mine" and len(after[: who.start()].split()) < _NAMED_FOR
        return "theirs" if own or _KIN.search(antecedent) else "others"
    if last.lastgroup == "pronoun":
        return _whose(head[: last.start()], lang, speaker)
    if last.lastgroup == "mine":
        words_of_it = " ".join(after.split()[:_NAMED_FOR])
        return "others" if _pattern("others", lang).match(words_of_it) or _others_in(words_of_it, lang) else "theirs"
    if last.lastgroup in ("own", "persons"):
        return "theirs"
    return "somebody" if last.lastgroup == "name" else "others"


def _others_in(words_of_it: str, lang: str) -> bool:
    cut = re.split(r"\b(?:who|whose|that|der|die|que)\b|[,.]", words_of_it)[0]
    return _pattern("others", lang).search(cut) is not None


@lru_cache(maxsize=256)
def _subjects(lang: str, speaker: str) -> re.Pattern[str]:
    """Of whom something may be told; nouns and names where a clause begins with them."""
    begins = r"(?:(?<=[.!?,;:\n] )|^\s*|(?<=\band )|(?<=\bbut )|(?<=\bund )|(?<=\bwhat )|(?<=\bthat )|(?<=\by ))"
    own = _OWN[lang] + (rf"|\b{re.escape(speaker)}\b" if speaker not in ("", "user") else "")
    name = r"[A-ZÄÖÜÁÉÍÓÚÑ][a-zäöüßáéíóúñ]+"
    ways = {
        "persons": rf"\b(?:{_WORDS['persons'][lang]})\b",
        "own": own,
        "mine": rf"\b(?:{_WORDS['mine'][lang]})\b",
        "pronoun": _PRONOUNS[lang],
        "generic": rf"{begins}(?:{_WORDS['generic'][lang]})\b|\b(?:people|leute|menschen|personas)\b",
        "noun": rf"{begins}(?:{_NOUNS[lang]})|\b(?:another|some) \w+",
        "full": rf"{begins}(?-i:{name} {name}|{_SHE_OR_HE})\b",
        "name": rf"{begins}(?-i:{name})(?= (?:{'|'.join(_WORDS['says'][lang])}|\w+n't|never|no|nicht)\b)",
    }
    return re.compile("|".join(f"(?P<{each}>{way})" for each, way in ways.items()), re.IGNORECASE)


def _chunk_begins(head: str) -> int:
    return max((match.end() for match in _CHUNK_ENDS.finditer(head)), default=0)


def _around(sentence: str, match: re.Match[str]) -> str:
    """What else stands in its piece of the sentence."""
    after = _CHUNK_ENDS.search(sentence, match.end())
    before = sentence[_chunk_begins(sentence[: match.start()]) : match.start()]
    return f"{before} {sentence[match.end() : after.start() if after else len(sentence)]}"


def _is_unreal(sentence: str, match: re.Match[str], lang: str) -> bool:
    return _pattern("unreal", lang).search(_around(sentence, match)) is not None


def _only_spoken_about(sentence: str, match: re.Match[str], lang: str) -> bool:
    if _pattern("goes_on", lang).match(sentence[match.end() :].lstrip(" ")):
        return True
    return _pattern("about", lang).search(_around(sentence, match)) is not None


def _is_denied(text: str, at: int) -> bool:
    """Whether what begins there is said not to be. Two denials are none: "never without my insulin"."""
    clause = _CLAUSE_ENDS.split(text[:at])[-1]
    if _STANDS_ALL_THE_SAME.search(clause):
        return False
    denials = [_NEGATIONS.fullmatch(word) is not None for word in clause.split()]
    is_denied = any(denials[-_NEGATED_BEFORE:]) and sum(denials) % 2 == 1
    return is_denied or _NEGATED_ZH.search(clause) is not None


# -- Chinese ---------------------------------------------------------------------------------------------------------

_SAYS_ZH = re.compile(
    r"(?:有|得了|得过|患有|患|查出|是|装了|装着|吃|打|注射|带|服用|靠|正在|在做|对|做过|因为|别忘了|忘了)"
)
_PERSONS_ZH = re.compile(
    r"我|咱|俺|用户|妈|爸|爷爷|奶奶|外婆|外公|姥姥|姥爷|老公|老婆|先生|太太|女儿|儿子|孩子|宝宝|娃|弟|妹|哥|姐|丈夫|妻子|父亲|母亲|他|她|狗|猫|孙"
)


def _of_chinese(sentence: str) -> str:
    unreal, about = _pattern("unreal", "zh"), _pattern("about", "zh")
    if about.search(sentence):
        return ""
    for kind, at, end, whole in _chinese_matches(sentence):
        clause_begins = max((match.end() for match in _CLAUSE_ENDS.finditer(sentence[:at])), default=0)
        clause = sentence[clause_begins : next((m.start() for m in _CLAUSE_ENDS.finditer(sentence, end)), None)]
        if unreal.search(clause) or _pattern("goes_on", "zh").match(sentence[end:]):
            continue
        if not whole and _is_denied(sentence, at):
            continue
        head = sentence[:at]
        persons = list(_PERSONS_ZH.finditer(head))
        others = list(_pattern("others", "zh").finditer(head))
        if others and (not persons or others[-1].end() > persons[-1].end() or others[-1].start() <= 1):
            continue
        if re.search(r"对(?:周|星期|工作|上班|开会|早起|作业|运动|学习|加班|老板)", head):
            continue
        if persons or whole or _SAYS_ZH.search(sentence[clause_begins:at]):
            return kind
    return ""


def _chinese_matches(sentence: str) -> Iterator[tuple[str, int, int, bool]]:
    for kind, words_of_it in _kinds("zh").items():
        for match in words_of_it.finditer(sentence):
            yield kind, match.start(), match.end(), False
    for kind, phrases in _phrases("zh").items():
        for match in phrases.finditer(sentence):
            yield kind, match.start(), match.end(), True


# -- words -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _kinds(lang: str) -> dict[str, re.Pattern[str]]:
    return {kind: _whole("|".join(lists[lang]).replace("*", r"\w*"), lang) for kind, lists in _WORDS["kinds"].items()}


@lru_cache(maxsize=8)
def _phrases(lang: str) -> dict[str, re.Pattern[str]]:
    return {kind: _whole("|".join(lists[lang]), lang) for kind, lists in _WORDS["by_itself"].items() if lists.get(lang)}


@lru_cache(maxsize=64)
def _pattern(name: str, lang: str) -> re.Pattern[str]:
    return _whole(_WORDS[name][lang], lang) if lang in _WORDS[name] else re.compile(r"(?!)")


@lru_cache(maxsize=8)
def _verbs(lang: str) -> re.Pattern[str]:
    return _whole("|".join(_WORDS["says"][lang]), lang)


def _whole(ways: str, lang: str) -> re.Pattern[str]:
    return re.compile(ways if lang == "zh" else rf"(?<!\w)(?:{ways})(?!\w)", re.IGNORECASE)


def _may_be_vital(text: str) -> bool:
    """Whether any piece of any of the words is there: most texts have none, and need no pattern."""
    if is_without_spaces(text) and any(piece in text for piece in _pieces()[1]):
        return True
    return any(map(_has_piece, _WORD.findall(text)))


@lru_cache(maxsize=65_536)
def _has_piece(word: str) -> bool:
    pieces, _, whole = _pieces()
    plain = word.lower()
    return plain in whole or any(piece in plain for piece in pieces)


@lru_cache(maxsize=1)
def _pieces() -> tuple[tuple[str, ...], tuple[str, ...], frozenset[str]]:
    """Of each word its longest piece: of those with spaces around them, of Chinese, and the short ones as they are."""
    listed = {word for lists in _WORDS["kinds"].values() for words_of_it in lists.values() for word in words_of_it}
    whole = {word for word in listed if len(word) < _SHORTEST_PIECE and word.isascii() and word.isalpha()}
    cut = {max(_NO_LETTERS.split(word), key=len).lower() for word in listed - whole}
    cut |= {word for words_of_it in _WORDS["triggers"].values() for word in words_of_it}
    chinese = {piece for piece in cut if is_without_spaces(piece)}
    return tuple(sorted(cut - chinese)), tuple(sorted(chinese)), frozenset(map(str.lower, whole))
