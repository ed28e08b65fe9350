"""Revisions: when a later statement puts an earlier one aside, when it may revise it, and when it has nothing to do
with it. By the words of the two alone.

Putting aside needs the same slot: the same subject, and the same of it, where that can only be one way at a time; or a
denial of the very thing. What is less sure only links the two. What is no statement of the speaker's own about now (a
question, a wish, a plan, a dream, somebody else's word, what was once) does neither.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from memsched.lexicon import STOP_WORDS, is_negated, is_negation, is_question, stem, words
from memsched.memory.ingest.certainty import moved_home, only_another_value, only_denies
from memsched.memory.ingest.chinese import as_words, have_nothing_in_common
from memsched.memory.ingest.clauses import NOTHING_SAID, Clause, clauses_of, introduced_by
from memsched.memory.ingest.revision_words import are_opposites, found, language_of_pair, listed, may_tell
from memsched.memory.ingest.subjects import IT, OWN
from memsched.memory.ingest.vital import vital_kind
from memsched.memory.model import as_called

Verdict = Literal["supersedes", "may_revise", "unrelated"]
_LONGEST = 14
"""Content words of a clause that is about one thing."""
_MOST_CHARACTERS = 500
"""A longer text is about several things: it revises nothing, and is not put aside as a whole."""
_MOST_PAIRS = 60
_LEAST_PART = 3
"""Letters of a part of a compound."""
_NAME = 2
"""Words of what something is, where only that differs."""
_ONE_AT_A_TIME = frozenset(("reside", "name", "age", "weigh", "alive", "attend"))
_ONE_USUALLY = frozenset(("work", "drive", "partner", "price", "smoke"))
_VITAL = frozenset(("allergy", "illness", "diet", "emergency"))


class Said(Protocol):
    """What somebody said: a memory is one."""

    @property
    def text(self) -> str: ...

    @property
    def speaker(self) -> str: ...

    @property
    def kind(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Revision:
    """What a later statement does to an earlier one.

    Args:
        verdict: ``supersedes``: the earlier one is no longer true. ``may_revise``: it may be so; nothing is hidden.
        because: why, as a clause.
    """

    verdict: Verdict
    because: str = ""

    @property
    def weight(self) -> int:
        return ("unrelated", "may_revise", "supersedes").index(self.verdict)


UNRELATED = Revision("unrelated")


def may_correct(text: str) -> bool:
    """Whether a text may revise anything at all that was said before it, or after it."""
    if len(text) > _MOST_CHARACTERS:
        return False
    lang = language_of_pair(text, "")
    return may_tell(text, lang) and any(not clause.apart and _could(clause) for clause in clauses_of(text, lang))


def is_marked(text: str) -> bool:
    """Whether a text says that something is otherwise than before, by a word for that: "actually", "now"."""
    clauses = clauses_of(text, language_of_pair(text, ""))
    return any(clause.signs & {"admits", "now"} for clause in clauses)


def _could(clause: Clause) -> bool:
    return bool(clause.signs or clause.classes or clause.is_one_valued or any(word[0] in "#@" for word in clause.words))


def revises(newer: Said, older: Said) -> Revision:
    """What a later statement does to an earlier one."""
    if not _same_speaker(newer, older) or is_question(older.text):
        return UNRELATED
    if newer.speaker == "assistant" or newer.text.strip() == older.text.strip():
        return UNRELATED
    if max(len(newer.text), len(older.text)) > _MOST_CHARACTERS:
        return UNRELATED
    lang = language_of_pair(newer.text, older.text)
    earlier = [each for each in clauses_of(older.text, lang) if each.apart not in NOTHING_SAID]
    later = [each for each in clauses_of(newer.text, lang) if not each.apart]
    if len(earlier) * len(later) > _MOST_PAIRS:
        return UNRELATED  # lists, logs: no statement about one thing
    best = UNRELATED
    for one in later:
        for other in earlier:
            if lang == "zh" and have_nothing_in_common(one, other):
                continue
            revision = _of_clauses(*(as_words(one, other) if lang == "zh" else (one, other)))
            if revision.verdict == "supersedes" and not _is_certain(one, other):
                revision = Revision("may_revise", revision.because)
            if revision.weight > best.weight:
                best = revision
    if best.verdict == "supersedes":
        if len(earlier) > 1 and _states(earlier) > 1:
            return Revision("may_revise", best.because)
        is_vital = vital_kind(older.text, older.speaker) in _VITAL or found("medicine", lang, older.text)
        if is_vital and not only_denies(newer.text, older.text):
            return Revision("may_revise", best.because)
    return best


def _is_certain(newer: Clause, older: Clause) -> bool:
    if newer.denied:
        return True
    if newer.negated != older.negated:
        return only_denies(newer.text, older.text)
    return only_another_value(newer.text, older.text) or moved_home(newer.text, older.text)


def _states(clauses: Sequence[Clause]) -> int:
    return sum(bool(each.words) or each.lang == "zh" for each in clauses)


def _same_speaker(newer: Said, older: Said) -> bool:
    """A user without a name is "" or "user"; under a name they are the same one."""
    own = [getattr(each, "by_user", False) or each.speaker in ("", "user") for each in (newer, older)]
    return all(own) or as_called(newer.speaker) == as_called(older.speaker)


_YEAR = re.compile(r"#(?:19|20)\d\d")
_LABEL = re.compile(r"(?<=[^\W\d_]{2} )(?:[A-HJ-Z]|[b-df-hj-np-tvwxz])(?![\w'.])")
"""Server B, option c."""
_FROM = re.compile(r"\bfrom\b|\breplaced\b|\bvon\b|\bstatt\b|\bde\b|\u4ece|\u628a")


# -- two clauses ---------------------------------------------------------------------------------------------------

Who = Literal["same", "open", "other"]


def _of_clauses(newer: Clause, older: Clause) -> Revision:
    if max(len(newer.words), len(older.words)) > _LONGEST:
        return UNRELATED
    pair = _Pair(newer, older)
    if older.apart == "past" and "admits" not in newer.signs and not (newer.negated and pair.new == pair.old):
        return UNRELATED
    if newer.denied:
        return pair.instead()
    if pair.who == "other":
        return pair.no_longer() if newer.negated else pair.role()
    if "cancelled" in newer.signs:
        return pair.end()
    if newer.negated and newer.signs & {"changed", "ended"} and not pair.shared:
        return UNRELATED  # that it did not change
    if newer.negated != older.negated:
        return pair.denial()
    if newer.negated:
        return UNRELATED
    if "ended" in newer.signs and "ended" not in older.signs and (end := pair.end()).weight:
        return end
    value = pair.other_value()
    if value.verdict == "supersedes" and pair.may_be_another():
        return Revision("may_revise", value.because)
    return value if value.weight else pair.opposite()


class _Pair:
    """A later and an earlier clause, and what they have in common.

    Attributes:
        who: whether they are about the same: "open" where nothing says so, and nothing says otherwise.
        common, shared: words of both; without the subject.
        more_new, more_old: words that only one of them has, but for those that say how something became otherwise.
    """

    def __init__(self, newer: Clause, older: Clause) -> None:
        if newer.lang == "de" and not newer.negated:
            newer = _in_words_of(newer, older)
        self.newer, self.older = newer, older
        self.new, self.old = set(newer.words), set(older.words)
        self.common = self.new & self.old
        self.classes = newer.classes & older.classes
        self.who = self._who()
        self.shared = self.common - (older.subject | newer.subject if self.who == "same" else older.subject)
        class_verbs = older.cues if older.classes else frozenset()
        if self.who != "same":
            self.shared = {word for word in self.shared if word[0] not in "#@"}
        self.more_new = self.new - self.old - newer.cues
        self.more_old = self.old - self.new - class_verbs
        if self._is_done_by_another():
            self.more_new -= newer.subject

    def instead(self) -> Revision:
        """Not tea but coffee, where it was tea."""
        said = all(
            word in self.old or (self.older.lang == "zh" and word in self.older.text) for word in self.newer.denied
        )
        if not said or not self.new - self.old or (self.who == "other" and not self.common - self.newer.denied):
            return UNRELATED
        because = f'not "{_told(self.newer.denied)}" but "{self.newer.text}"'
        topic = self.who == "same" or (self.who == "open" and self.common)
        return Revision("supersedes" if topic else "may_revise", because)

    def _is_done_by_another(self) -> bool:
        """Whether the later one's subject is only who did it: "Marketing renamed our project"."""
        moves = self.newer.signs & {"changed", "ended", "cancelled"}
        return bool(moves and self.newer.subject) and not self.newer.negated and not self.newer.subject & self.old

    def _who(self) -> Who:
        newer, older = self.newer, self.older
        one, other = (each.subject if each.subject != {IT} else frozenset[str]() for each in (newer, older))
        if one == other:
            return "same" if one else "open"
        moves = bool(newer.signs & {"changed", "ended", "cancelled"})
        if IT in one:
            return "open" if one & other else "other"
        if not one or not other:
            named, whole = (other, self.new) if not one else (one, self.old)
            return "same" if named - {OWN} and named <= whole else "open"
        if newer.negated and newer.is_own and older.is_own and self.new <= self.old:
            return "same"
        over = newer.signs & {"ended", "cancelled"} and one - {OWN} and one - {OWN} <= self.old
        if over and (OWN in other or other <= one):
            return "same" if newer.is_own == older.is_own or "cancelled" in newer.signs else "open"
        if OWN not in one | other:
            if one < other:
                return "open"
            if one & other:
                return "other"  # "the train of my sister", where it was the train
        if not moves:
            told = bool(self.classes) or all(any(w[0] == "#" for w in words) for words in (self.new, self.old))
            own = older.is_own and (newer.is_own or newer.lang == "zh")
            is_named = own and one - {OWN} <= self.old
            return "open" if newer.signs & {"now", "admits"} and told and is_named else "other"
        if OWN not in other and other <= self.new:
            return "same"
        if one - {OWN} and one - {OWN} <= self.old:
            return "same" if newer.is_own == older.is_own or "cancelled" in newer.signs else "open"
        if newer.signs & {"changed", "ended"} == {"ended"} and OWN in other and OWN not in one:
            return "other"
        if (self.common - one) or (OWN in other and self.common and newer.is_own):
            return "open"
        return "other"

    def no_longer(self) -> Revision:
        """The cleaner comes no more, where they had a cleaner who comes."""
        named = self.newer.subject - {OWN, IT}
        if "now" in self.newer.signs and named and named <= self.old - self.older.subject and self.more_new <= named:
            return Revision("may_revise", f'denies "{self.older.text}"')
        return UNRELATED

    def role(self) -> Revision:
        """Sven is our goalkeeper, where Tariq was."""
        rest_new, rest_old = self.new - self.newer.subject, self.old - self.older.subject
        if self.newer.subject and self.newer.subject == rest_old and self.newer.verb == self.older.verb == "is":
            rest_new = rest_old  # "our goalkeeper is Sven"
        if not (self.newer.is_one_valued and self.older.is_one_valued and rest_old and rest_old <= rest_new):
            return UNRELATED
        if OWN in self.newer.subject | self.older.subject or any(word[0] in "#@" for word in rest_old):
            return UNRELATED
        sure = self.newer.signs & {"now", "changed", "admits"}
        return Revision("supersedes" if sure else "may_revise", f"another one is: {_told(rest_old)}")

    def denial(self) -> Revision:
        """The same is said not to be so; or, where it was said not to be, to be."""
        if self.more_new or not (self.shared or self.classes):
            return UNRELATED
        certain = self.who == "same" or (self.who == "open" and len(self.shared) > 1)
        verdict: Verdict = "supersedes" if self.newer.negated and certain and self.shared else "may_revise"
        return Revision(verdict, f'denies "{self.older.text}"')

    def end(self) -> Revision:
        """What was is over."""
        extra = {word for word in self.more_new if word[0] not in "#@"}
        if any(map(_is_day, self.more_new)) and any(map(_is_day, self.more_old)):
            return UNRELATED  # the one on Tuesday, where it was the one on Monday
        because = f"it is over: {_told(self.common) or self.older.text}"
        cancelled = "cancelled" in self.newer.signs
        if not extra and self.who == "same" and (self.common if cancelled else self.common - self.older.subject):
            return Revision("supersedes", because)
        if self.shared or self.classes or (self.common and cancelled):
            return Revision("may_revise", because)
        return UNRELATED

    def other_value(self) -> Revision:
        """The same, but for what it is."""
        newer, older, who = self.newer, self.older, self.who
        signs = newer.signs & {"admits", "changed", "now"}
        strong = signs - {"now"}
        because = f"the same of {_told(self.common) or ', '.join(sorted(self.classes))}"
        link = Revision("may_revise", because)
        if not self.classes and newer.classes and older.classes:
            return UNRELATED
        if self._is_detail():
            return UNRELATED
        if newer.signs & {"now", "changed"} and not any(map(_is_day, self.more_old)):
            self.more_new = {word for word in self.more_new if not _is_day(word)}  # since when it is so
        topic = bool(
            self.shared
            or (OWN not in older.subject and newer.subject & older.subject)
            or (who == "same" and (older.subject | newer.subject) - {OWN})
        )
        if not self.more_old or not self.more_new:
            return self._without_value(topic, link)
        if all(word[0] in "#@" for word in self.more_old) and not any(word[0] in "#@" for word in self.more_new):
            return UNRELATED  # "the budget is tight", where it was 500
        if self.classes & _ONE_AT_A_TIME and who == "same" and (not older.takes_several or strong):
            if self._is_beside():
                return link if signs else UNRELATED
            return Revision("supersedes", because) if signs or "reside" in self.classes else link
        values = self._values(topic, signs, because)
        if values is not None:
            return values
        if self.classes & _ONE_USUALLY and (not older.takes_several or strong):
            sure = strong or self._is_introduced_alike()
            return (Revision("supersedes", because) if sure and who == "same" else link) if signs else UNRELATED
        if older.takes_several and not strong:
            return UNRELATED
        short = max(len(self.more_new), len(self.more_old)) <= _NAME
        one_only = newer.is_one_valued and older.is_one_valued and not older.takes_several
        if topic and who == "same" and one_only and (strong or short) and self._is_introduced_alike():
            return Revision("supersedes", because)
        frame = who == "same" and OWN not in older.subject and newer.verb == older.verb != ""
        again = found("again", newer.lang, newer.text)
        frame = frame and (bool(strong) or again or self._is_introduced_alike())
        if frame and signs and self._is_one_word() and ("admits" in signs or self._are_colours()):
            return Revision("supersedes", because)
        named = IT in newer.subject and bool(self.classes)  # "I renamed our wifi, it's called Marmalade now"
        alike = (strong and newer.verb == older.verb) or self.shared or frame or "changed" in signs or named
        if topic and signs and alike:
            return link
        if newer.lang == "zh" and who == "same" and "now" in signs and newer.verb == older.verb == "is" and short:
            return link  # a teacher, and now a doctor: the Chinese "is" is followed by what somebody is, not how
        return UNRELATED

    def opposite(self) -> Revision:
        """They are married, where they were single: seldom in words of which both have one."""
        newer, older = self.newer, self.older
        both_own = self.who == "open" and newer.lang == "zh" and newer.is_own and older.is_own
        one = self.who == "same" or (both_own and not found("may_be_several", "zh", f"{newer.text} {older.text}"))
        if one and are_opposites(newer.text, older.text, newer.lang):
            return Revision("may_revise", f'the opposite of "{older.text}"')
        return UNRELATED

    def may_be_another(self) -> bool:
        """Whether the later one, which says of nothing that it changed, may be about another one of the same kind:
        another day's lesson, the next bed of the garden, server B, a second sister.
        """
        newer, older = self.newer, self.older
        if newer.signs & {"admits", "changed", "now"}:
            return False
        if newer.subject - {OWN} and found("may_be_several", newer.lang, newer.text):
            return True
        values = [word for word in newer.words if word[0] in "#@" and word not in self.old]
        for clause in (newer, older):
            if clause.words and clause.words[0][0] in "#@" and (clause.subject or clause.lang == "zh"):
                return True
        if values and not newer.verb and newer.words.index(values[0]) < len(newer.words) - len(values):
            return True
        return set(_LABEL.findall(newer.text)) != set(_LABEL.findall(older.text))

    def _is_introduced_alike(self) -> bool:
        """In Oslo, where it was in Rome; not from home."""
        return introduced_by(self.newer, self.more_new) == introduced_by(self.older, self.more_old) != ""

    def _is_beside(self) -> bool:
        """With a cat, where it was in Paris."""
        beside = listed("beside", self.newer.lang)
        by = introduced_by(self.newer, self.more_new), introduced_by(self.older, self.more_old)
        return (by[0] in beside) != (by[1] in beside)

    def _is_one_word(self) -> bool:
        return len(self.more_new) == len(self.more_old) == 1 and self._is_introduced_alike()

    def _are_colours(self) -> bool:
        return found("colours", self.newer.lang, self.newer.text) and found("colours", self.older.lang, self.older.text)

    def _is_detail(self) -> bool:
        """Hamburg-Altona, where it was Hamburg."""
        return bool(self.more_old) and all(
            any(old in new and old != new and old[0] != "#" for new in self.more_new) for old in self.more_old
        )

    def _without_value(self, topic: bool, link: Revision) -> Revision:
        """One of the two says nothing that the other does not: what it was is named as left, or not what it is now."""
        newer = self.newer
        if not self.more_old and self.more_new and "changed" in newer.signs and self.shared:
            certain = self.who == "same" and not self.older.takes_several
            return Revision("supersedes", link.because) if certain and _FROM.search(newer.text) else link
        if not self.more_new and topic and newer.signs & {"changed", "admits"} and self.who == "same":
            return link
        if not self.more_new and self.common and found("again", newer.lang, newer.text):
            return link
        return UNRELATED

    def _values(self, topic: bool, signs: Set[str], because: str) -> Revision | None:
        """Another number or day of the same."""
        new, old = (({w for w in more if w[0] in "#@"}) for more in (self.more_new, self.more_old))
        if not new or not old:
            return None
        alone = not self.new - new - self.newer.cues and bool(signs & {"changed", "admits"})
        if not (topic or self.classes or alone):
            return None
        link = Revision("may_revise", because)
        if {w[0] for w in new} != {w[0] for w in old} and not signs:
            return UNRELATED
        kinds = {w[0] for w in new & old | new | old}
        rest_new, rest_old = self.more_new - new, self.more_old - old
        if not rest_new and not rest_old and (len(kinds) == 1 or signs):
            sure = self.who == "same" or "admits" in signs or not self.newer.subject
            return Revision("supersedes", because) if sure and topic else link
        if rest_new and rest_old:
            return link if signs - {"now"} and self.who == "same" else UNRELATED
        if len(kinds) > 1 and not signs:
            return UNRELATED
        return Revision("supersedes", because) if signs and self.who == "same" and len(rest_old) <= 1 else link


def _in_words_of(newer: Clause, older: Clause) -> Clause:
    """With the older one's compounds where the newer one has a part of it, or a compound with it: "Budget"."""
    same = {word: _compound(word, older.words) for word in newer.words}
    words = tuple(dict.fromkeys(same[word] for word in newer.words))
    subject = frozenset(same.get(word, word) for word in newer.subject)
    return replace(newer, words=words, subject=subject, cues=frozenset(same.get(word, word) for word in newer.cues))


def _compound(word: str, others: Sequence[str]) -> str:
    if word in others or word[0] in "#@":
        return word
    for other in others:
        short, long = sorted((word, other), key=len)
        is_part = len(short) >= _LEAST_PART and len(long) - len(short) >= _LEAST_PART
        if is_part and (long.startswith(short) or long.endswith(short)):
            return other
    return word


def _is_day(word: str) -> bool:
    return word[0] == "@" or _YEAR.fullmatch(word) is not None


def _told(words_of_it: Set[str]) -> str:
    return " ".join(sorted(word.lstrip("#@") for word in words_of_it))


# -- feedback ------------------------------------------------------------------------------------------------------


def same_subject(new: str, old: str) -> float:
    """How many words a statement of which it is certain that it corrects something shares with an older one, 0 to 1."""
    newer, older = _content(new), _content(old)
    if newer == older and is_negated(new) == is_negated(old):
        return 0.0
    return len(set(newer) & set(older)) / max(1, min(len(newer), len(older)))


_FIRST_PERSON = frozenset(("i", "me", "my", "mine", "myself"))


def _content(text: str) -> list[str]:
    kept: dict[str, None] = {}
    for word in words(text):
        if word in _FIRST_PERSON or word.startswith("i'"):
            kept[OWN] = None
        elif word not in STOP_WORDS and not is_negation(word):
            kept[stem(word)] = None
    return list(kept)
