"""Several things in one request to forget: "my address, phone number and that I smoke", or a list of lines."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any

WORDS: dict[str, Any] = json.loads(files(__package__).joinpath("forget_words.json").read_text(encoding="utf-8"))
BULLET = re.compile("\\s*(?:[-*\u2022]|\\d+[.)\u3001])\\s*(?=\\S)")
ENDS = " .,!?\u3002\uff01\uff1f\uff0c"
_COLON = re.compile("\\s*[:\uff1a]\\s*")
_WIDE = str.maketrans(",;:?!", "\uff0c\uff1b\uff1a\uff1f\uff01")
_HAN = re.compile("[\u4e00-\u9fff]")


@lru_cache(maxsize=128)
def kind(name: str, lang: str) -> re.Pattern[str]:
    """The words of a kind in a language."""
    return re.compile(WORDS[name][lang], re.IGNORECASE)


@lru_cache(maxsize=32)
def _listed(name: str, lang: str) -> re.Pattern[str]:
    return re.compile(WORDS["listed"][name][lang], re.IGNORECASE)


@lru_cache(maxsize=8)
def _head(lang: str) -> re.Pattern[str]:
    """What a list follows: "Please forget the following"."""
    begin, heads, these = (WORDS[name][lang] for name in ("begin", "heads", "these"))
    return re.compile(rf"(?P<head>{begin}{heads}){these}", re.IGNORECASE)


@lru_cache(maxsize=8)
def _end(lang: str) -> re.Pattern[str]:
    return re.compile(WORDS["end"][lang], re.IGNORECASE)


def widened(text: str) -> str:
    """Chinese with its own punctuation, where it was typed with that of ASCII."""
    return text.translate(_WIDE) if _HAN.search(text) else text


def parts_of(what: str, lang: str) -> list[tuple[str, bool]]:
    """The things and statements that a request names, and whether each is a thing; of what is no list nothing."""
    if _listed("thing", lang).match(what) or _listed("question", lang).match(what):
        return _things(what, lang)
    return [(part, False) for part in _statements(what, lang)]


def _statements(what: str, lang: str) -> list[str]:
    parts = [part.strip(ENDS) for part in kind("joins_that", lang).split(what)]
    return parts if len(parts) > 1 and all(parts) else []


def _things(what: str, lang: str) -> list[tuple[str, bool]]:
    """The things in a list; one that may be no thing makes it none. A statement goes to the end: it may have "and"."""
    found: list[tuple[str, bool]] = []
    place, joined, bare, mine = 0, "", False, ""
    joins = [*kind("joins_own", lang).finditer(what), None]
    for join in joins:
        part = what[place : join.start() if join else len(what)].strip(ENDS)
        if told := _listed("told", lang).match(what[place:]):
            if not found or joined == "\uff0c":  # what a comma joins is said beside
                return []
            last = what[place + told.end() :]
            found += [(each, False) for each in _statements(last, lang) or [last.strip(ENDS)]]
            break
        if _listed("thing", lang).fullmatch(part):
            mine = "\u6211\u7684" if lang == "zh" else f"{part.split()[0]} "
        elif mine and _listed("bare", lang).fullmatch(part):
            part, bare = mine + part, True
        elif not _listed("question", lang).fullmatch(part):
            return []
        found.append((part, True))
        if join is None:
            if bare and _listed("closed", lang).search(joined) is None:
                return []
            break
        place, joined = join.end(), join[0]
    return found if len(found) > 1 else []


def as_single(text: str, lang: str) -> list[str] | None:
    """A list behind a colon as one request each ("forget:", and things line by line); None if it is none."""
    colon = _COLON.search(text)
    head = _head(lang).fullmatch(widened(text[: colon.start()]).strip()) if colon else None
    if colon is None or head is None:
        return None
    joined = "" if lang == "zh" else " "
    if "\n" not in colon[0]:
        one_line = "\n" not in text[colon.end() :]
        return [head["head"].strip() + joined + text[colon.end() :]] if one_line else None
    lines = [line for line in text[colon.end() :].splitlines() if line.strip()]
    if lines and not BULLET.match(lines[-1]) and _end(lang).fullmatch(f" {lines[-1].strip(ENDS)}".lower()):
        lines.pop()
    asked = []
    for line in lines:
        bullet = BULLET.match(line)
        if bullet is None:
            return None
        said = line[bullet.end() :].strip(f"{ENDS};\uff1b")
        if not said:
            return None
        is_whole = lang == "zh" or any(_listed(name, lang).match(said) for name in ("thing", "question", "told"))
        told = "" if is_whole else WORDS["listed"]["told"][lang]
        asked.append(head["head"].strip() + joined + told + said)
    return asked


def without_kept(text: str, lang: str) -> tuple[str, str]:
    """A request without what it says is to be kept ("but keep my address"), and that."""
    for match in kind("keeps", lang).finditer(text):
        if match.end() == len(text):
            return text[: match.start()], match["kept"]
    return text, ""
