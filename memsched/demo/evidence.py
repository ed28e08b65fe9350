"""What the conversation left behind, and what that proves. None of it is the workers' word.

Memories are counted in the vector store, by what they name as their source. Whether a message is done, when, and by
whom, is in its record in Redis. What a killed worker had done already was looked up while it was stopped.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from memsched.demo.conversation import (
    ALICE,
    ALLERGY,
    BOB,
    NAMES,
    NEW_HOME,
    OLD_HOME,
    PEANUT_BUTTER,
    TREAT,
    WHERE,
    Turn,
)
from memsched.demo.worker_processes import Kill
from memsched.messages import ScheduleMessageItem

_GOOD, _BAD = "green", "bold red"
_SHOWN = 3
_LONGEST_TEXT = 32
_ALICE, _BOB = NAMES[ALICE], NAMES[BOB]


@dataclass(frozen=True, slots=True)
class Passage:
    """A message that the killed worker held, and what became of it.

    Args:
        what: it says.
        worker: who finished it, "" if nobody did.
        started_ms: after the kill.
        finished_ms: after the kill.
        stored: its memories were in the store already when its worker died.
    """

    what: str
    worker: str
    started_ms: float
    finished_ms: float
    stored: bool


@dataclass(frozen=True, slots=True)
class Found:
    """One memory that a search found."""

    text: str
    memory_id: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A working set around a question.

    Args:
        before: its texts, best first, when the question was asked.
        after: the same when the question had been taken into account.
        read_ms: how long the first took to read.
        renewed_ms: from the question to the second; None if there was none.
    """

    before: Sequence[str] = ()
    after: Sequence[str] = ()
    read_ms: float = 0.0
    renewed_ms: float | None = None


@dataclass(slots=True)
class Evidence:
    """Everything that is known at the end.

    Args:
        said: by reference, what was to be remembered.
        sources: by reference, how many memories name it.
        texts: by reference, what they say.
        by_user: the ids of each user's memories.
    """

    said: Mapping[str, Turn]
    workers: int
    name: Callable[[str], str]
    kill_wanted: bool
    messages: list[ScheduleMessageItem] = field(default_factory=list)
    """All that were submitted."""
    done: int = 0
    """How many of those are."""
    seconds: float = 0.0
    sources: Counter[str] = field(default_factory=Counter)
    texts: dict[str, str] = field(default_factory=dict)
    by_user: dict[str, set[str]] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    """The texts of memories that were corrected, and of those that correct them."""
    kill: Kill | None = None
    passages: list[Passage] = field(default_factory=list)
    where: Sequence[Found] = ()
    """What was found for the question after the home."""
    ready: Ready = field(default_factory=Ready)
    """The working set around the question after the treat."""
    others: dict[str, list[Found]] = field(default_factory=dict)
    """What Bob found when he asked for what only Alice had said."""
    refused: bool = False
    """Whether Bob was refused Alice's cube by its name."""
    search_ms: Sequence[float] = ()
    dead: int = 0
    unfinished: int = 0
    exit_code: int = 0

    @property
    def problems(self) -> list[str]:
        """What does not hold; empty when all of it does."""
        return [problem for check in self._checks() for problem in check.problems]

    def report(self) -> list[tuple[str, str]]:
        """The lines for people, each with a style."""
        lines = [(self._first(), "bold")]
        for check in self._checks():
            good = not check.problems
            lines.append((f"{'✓' if good else '✗'} {check.what}", _GOOD if good else _BAD))
            lines += [(f"    {line}", "") for line in check.details]
            lines += [(f"    WRONG: {problem}", _BAD) for problem in check.problems]
        if self.search_ms:
            p50, slowest = statistics.median(self.search_ms), max(self.search_ms)
            lines.append(
                (f"  search: {p50:.1f} ms at the median of {len(self.search_ms)}, {slowest:.1f} ms at most", "")
            )
        return lines

    def _first(self) -> str:
        processes = f"{self.workers} worker process{'es' * (self.workers != 1)}"
        return f"{in_words(len(self.messages))} of {_ALICE} and {_BOB} in {self.seconds:.1f} s by {processes}"

    def _checks(self) -> Iterator[_Check]:
        yield self._remembered()
        yield self._finished()
        if self.kill_wanted:
            yield self._recovered()
            yield self._ran_twice()
        yield self._corrected()
        yield self._treat()
        yield self._apart()

    def _remembered(self) -> _Check:
        missing = [reference for reference in self.said if not self.sources[reference]]
        doubled = [reference for reference, count in self.sources.items() if count > 1]
        strange = self.sources.keys() - self.said.keys()
        changed = [
            reference
            for reference, turn in self.said.items()
            if reference in self.texts and self.texts[reference] != turn.text
        ]
        total = sum(map(len, self.by_user.values()))
        found = {
            f"{len(missing)} are lost{self._example(missing)}": missing,
            f"{len(doubled)} are there more than once{self._example(doubled)}": doubled,
            f"{len(changed)} say something else{self._example(changed)}": changed,
            f"{len(strange)} that nobody said": strange,
            f"{total} memories for {len(self.said)} utterances": total != len(self.said),
        }
        return _Check(
            f"{len(self.said) - len(missing)} of {len(self.said)} utterances are in the vector store"
            + (", each exactly once" if not doubled else ""),
            problems=[text for text, wrong in found.items() if wrong],
        )

    def _example(self, references: Sequence[str]) -> str:
        turn = self.said.get(references[0]) if references else None
        return f", such as: {turn.text}" if turn else ""

    def _finished(self) -> _Check:
        total = len(self.messages)
        found = {
            f"{total - self.done} of {total} have no record that they are done": self.done != total,
            f"{in_words(self.unfinished)} not finished in time": self.unfinished,
            f"{self.dead} in the dead letters": self.dead,
            f"the workers ended with exit code {self.exit_code}": self.exit_code,
        }
        return _Check(
            f"{self.done} of {in_words(total)} are done, by their records in Redis; no dead letters",
            problems=[text for text, wrong in found.items() if wrong],
        )

    def _recovered(self) -> _Check:
        if self.kill is None:
            return _Check("a worker is killed", problems=["no worker was killed: none held a message in time"])
        name, held = self.name(self.kill.worker_id), self.kill.held
        others = [each for each in self.passages if each.worker not in ("", self.kill.worker_id)]
        lost = len(held) - sum(bool(each.worker) for each in self.passages)
        check = _Check(f"{name} was killed (SIGKILL) with {in_words(len(held))} in its hands; others finished them:")
        if others:
            others.sort(key=lambda each: each.finished_ms)
            heirs = Counter(self.name(each.worker) for each in others)
            went_on = ", ".join(f"{heir} did {count}" for heir, count in sorted(heirs.items()))
            first = min(each.started_ms for each in others)
            check.details.append(f"{went_on}; the first began {first:.0f} ms after the kill")
            shown = others if len(others) <= _SHOWN + 1 else [*others[:_SHOWN], others[-1]]
            texts = [_shortened(each.what) for each in shown]
            for each, text in zip(shown, texts, strict=True):
                if each is shown[-1] and len(shown) < len(others):
                    check.details.append("...")
                check.details.append(
                    f"{text:{max(map(len, texts))}}  {name} → {self.name(each.worker)}  done after "
                    f"{each.finished_ms:4.0f} ms"
                )
        else:
            check.problems.append("nothing that it held was taken over by another")
        if lost:
            check.problems.append(f"{lost} of them were not finished")
        return check

    def _ran_twice(self) -> _Check:
        twice = [each for each in self.passages if each.stored]
        if not twice:
            return _Check("none of them was done twice this time (a message runs at least once)")
        doubled = sum(count > 1 for count in self.sources.values())
        return _Check(
            f"{in_words(len(twice))} ran twice (remembered, not yet reported when it died): no memory is doubled",
            problems=[f"{doubled} memories are doubled"] if doubled else [],
        )

    def _corrected(self) -> _Check:
        check = _Check(f"{WHERE} {self.where[0].text if self.where else 'Nothing was found.'}")
        found = [each.text for each in self.where]
        if found[:1] != [NEW_HOME]:
            check.problems.append("the correction is not what is found first")
        if self.replaced != {OLD_HOME: NEW_HOME}:
            check.problems.append(f"what was corrected is not that, and that alone: {dict(self.replaced)}")
        else:
            check.details.append(f"instead of: {OLD_HOME}")
        return check

    def _treat(self) -> _Check:
        ready = self.ready
        check = _Check(f"{TREAT} The working set had what the answer needs:")
        for text in (PEANUT_BUTTER, ALLERGY):
            if text in ready.after:
                since = "there before" if text in ready.before else "came with it"
                place = f"number {ready.after.index(text) + 1} of {len(ready.after)}"
                check.details.append(f"{text}  ({since}, now {place})")
            else:
                check.problems.append(f"not in it: {text}")
        if OLD_HOME in ready.after:
            check.problems.append(f"still in it, though corrected: {OLD_HOME}")
        if ready.renewed_ms is None:
            check.problems.append("it was not brought up to date with the question")
        else:
            check.details.append(
                f"read in {ready.read_ms:.1f} ms when the question came; "
                f"up to date with the question {ready.renewed_ms:.0f} ms after it"
            )
        return check

    def _apart(self) -> _Check:
        hers = self.by_user.get(ALICE, set())
        check = _Check(f"{_BOB} asked {len(self.others)} times for what {_ALICE} had said, and found nothing of hers")
        for query, found in self.others.items():
            check.problems += [f"{query} found {each.text}" for each in found if each.memory_id in hers]
        if not self.others or not hers:
            check.problems.append("there was nothing to find")
        if not self.refused:
            check.problems.append(f"her cube was not refused to {_BOB}")
        return check


@dataclass(slots=True)
class _Check:
    """One thing that is to hold, in words; it does if there are no problems."""

    what: str
    details: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def in_words(messages: int) -> str:
    return f"{messages} message{'s' * (messages != 1)}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
