"""What the conversation left behind, and what that proves. None of it is the workers' word.

Memories are counted in the vector store, by what they name as their source. Who went on with a message is in its
status, which the server keeps. What a killed worker had done already was looked up while it was stopped.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from memsched.demo.crew import Kill
from memsched.demo.pets.conversation import ALICE, ALLERGY, BOB, NEW_HOME, OLD_HOME, PEANUT_BUTTER, TREAT, WHERE, Turn

_GOOD, _BAD = "green", "bold red"


@dataclass(frozen=True, slots=True)
class Passage:
    """A message that the killed worker held, and what became of it.

    worker: who finished it, "" if nobody did. started_ms, finished_ms: after the kill. stored: its memories were in
    the store already when its worker died.
    """

    label: str
    worker: str
    started_ms: float
    finished_ms: float
    stored: bool


@dataclass(frozen=True, slots=True)
class Found:
    """One memory that a search found."""

    text: str
    memory_id: str


@dataclass(slots=True)
class Evidence:
    """Everything that is known at the end.

    said: by reference, what was to be remembered. sources: by reference, how many memories name it. texts: by
    reference, what they say. by_user: the ids of each user's memories.
    """

    said: Mapping[str, Turn]
    workers: int
    name: Callable[[str], str]
    kill_wanted: bool
    submitted: int = 0
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
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    """The working set before the question after the treat, and after it."""
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
        crew = f"{self.workers} worker process{'es' * (self.workers != 1)}"
        return f"{self.submitted} messages of {ALICE} and {BOB} in {self.seconds:.1f} s by {crew}"

    def _checks(self) -> Iterator[_Check]:
        yield self._remembered()
        if self.kill_wanted:
            yield self._recovered()
            yield self._ran_twice()
        yield self._corrected()
        yield self._treat()
        yield self._apart()
        if self.unfinished or self.dead or self.exit_code:
            yield _Check("everything came to its end", problems=[
                text for text, wrong in {
                    f"{self.unfinished} messages not finished in time": self.unfinished,
                    f"{self.dead} in the dead letters": self.dead,
                    f"the workers ended with exit code {self.exit_code}": self.exit_code,
                }.items() if wrong
            ])  # fmt: skip

    def _remembered(self) -> _Check:
        missing = [reference for reference in self.said if not self.sources[reference]]
        doubled = [reference for reference, count in self.sources.items() if count > 1]
        strange = self.sources.keys() - self.said.keys()
        changed = [
            reference for reference, turn in self.said.items()
            if reference in self.texts and self.texts[reference] != turn.text
        ]  # fmt: skip
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

    def _recovered(self) -> _Check:
        if self.kill is None:
            return _Check("a worker is killed", problems=["no worker was killed: none held a message in time"])
        name, held = self.name(self.kill.worker_id), self.kill.held
        others = [each for each in self.passages if each.worker not in ("", self.kill.worker_id)]
        lost = len(held) - sum(bool(each.worker) for each in self.passages)
        check = _Check(f"{name} was killed (SIGKILL) with {in_words(len(held))} in its hands; others finished them")
        if others:
            heirs = Counter(self.name(each.worker) for each in others)
            first, last = min(each.started_ms for each in others), max(each.finished_ms for each in others)
            went_on = ", ".join(f"{heir} with {count}" for heir, count in sorted(heirs.items()))
            check.details.append(f"{went_on}; from {first:.0f} ms after the kill, all done after {last:.0f} ms")
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
        check = _Check(f"{TREAT} The working set had the answer ready:")
        for text in (PEANUT_BUTTER, ALLERGY):
            if text in self.after:
                since = "before the question, and after it" if text in self.before else "as soon as it was asked"
                check.details.append(f"{text}  ({since})")
            else:
                check.problems.append(f"not in it: {text}")
        if OLD_HOME in self.after:
            check.problems.append(f"still in it, though corrected: {OLD_HOME}")
        return check

    def _apart(self) -> _Check:
        hers = self.by_user.get(ALICE, set())
        check = _Check(f"{BOB} asked {len(self.others)} times for what {ALICE} had said, and found nothing of hers")
        for query, found in self.others.items():
            check.problems += [f"{query} found {each.text}" for each in found if each.memory_id in hers]
        if not self.others or not hers:
            check.problems.append("there was nothing to find")
        if not self.refused:
            check.problems.append(f"her cube was not refused to {BOB}")
        return check


@dataclass(slots=True)
class _Check:
    """One thing that is to hold, in words; it does if there are no problems."""

    what: str
    details: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def in_words(messages: int) -> str:
    return f"{messages} message{'s' * (messages != 1)}"
