"""What counts: whether what was said is vital, a preference of the user, or a secret, on cases with the answer.

A case is a line of JSON: ``id``, ``lang``, ``form``, ``label``, ``text`` (of secrets a list of pieces to be joined),
``speaker`` (``user``, ``assistant``, or somebody's name), and of secrets ``hide``, the parts that must not be kept.
What is said over several turns, or beside them, stands in ``given``: a message's ``chat_history`` and ``metadata``.
``vital``: importance 0.8 or more. ``own``: taken for a preference. ``secret``: no part to hide is left; ``plain``: the
text is as it was.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.aside import is_aside
from memsched.memory.ingest.importance import about_oneself, importance
from memsched.memory.ingest.preferences import is_preference
from memsched.messages import ADD_TASK_LABEL, ScheduleMessageItem
from memsched.redaction import redacted_message
from memsched.tiers.cube_cache import VITAL_IMPORTANCE

Joined = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Case:
    """A sentence, and what it counts for."""

    id: str
    lang: str
    form: str
    label: str
    text: str = ""
    speaker: str = "user"
    hide: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def is_aside(self) -> bool:
        return is_aside(self.id)


def is_vital(case: Case) -> bool:
    """Whether it has the importance of what is vital."""
    speaker = "" if case.speaker == "user" else case.speaker
    value = importance(case.text, about_speaker=about_oneself(case.text), speaker=speaker)
    return value >= VITAL_IMPORTANCE


def is_own_preference(case: Case) -> bool:
    return case.speaker == "user" and is_preference(case.text)


def is_changed(case: Case) -> bool:
    """Of what holds a secret, whether all of it is hidden; of what holds none, whether it was spoilt."""
    history, metadata = case.given.get("chat_history", []), case.given.get("metadata", {})
    message = ScheduleMessageItem(
        user_id="u",
        mem_cube_id="c",
        label=ADD_TASK_LABEL,
        content=case.text,
        chat_history=history,
        info={"metadata": metadata},
    )
    kept = redacted_message(message, "mask")
    left = json.dumps([kept.content, kept.chat_history, kept.info], ensure_ascii=False)
    return not any(part in left for part in case.hide) if case.hide else kept is not message


ANSWERS: Mapping[str, tuple[str, Callable[[Case], bool]]] = {
    "vital": ("vital", is_vital),
    "preference": ("own", is_own_preference),
    "secrets": ("secret", is_changed),
}
"""By the file's name: the label of what is to be found, and whether a case was."""


def read_cases(file: Path) -> list[Case]:
    return [
        Case(
            **(fields | {"text": _joined(fields.get("text", "")), "hide": tuple(map(_joined, fields.get("hide", ())))})
        )
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip() and (fields := json.loads(line))
    ]


def _joined(text: Joined) -> str:
    return text if isinstance(text, str) else "".join(text)


def wrong_of(name: str, cases: Sequence[Case]) -> list[Case]:
    """The cases of which the wrong thing was decided."""
    label, answer = ANSWERS[name]
    return [case for case in cases if answer(case) != (case.label == label)]


def figures(name: str, cases: Sequence[Case]) -> dict[str, float]:
    """How many were missed, and how many others were taken for one."""
    label, _ = ANSWERS[name]
    wrong = wrong_of(name, cases)
    return {
        f"{name}_cases": sum(case.label == label for case in cases),
        f"{name}_missed": sum(case.label == label for case in wrong),
        f"{name}_others": sum(case.label != label for case in cases),
        f"{name}_others_taken": sum(case.label != label for case in wrong),
    }


def table(name: str, cases: Sequence[Case]) -> str:
    """A row for each label and form, with the sum and each language in a column: wrong, of how many."""
    wrong = set(wrong_of(name, cases))
    languages = sorted({case.lang for case in cases})
    lines = [f"| label | form | all | {' | '.join(languages)} |", f"|---|---|{'---:|' * (1 + len(languages))}"]
    for label in sorted({case.label for case in cases}):
        of_label = [case for case in cases if case.label == label]
        for form in [*sorted({case.form for case in of_label}), "all"]:
            some = [case for case in of_label if form in ("all", case.form)]
            bad, of = (Counter(case.lang for case in each) for each in ([c for c in some if c in wrong], some))
            cells = [f"{bad[lang]}/{of[lang]}" if of[lang] else "" for lang in languages]
            lines.append(f"| {label} | {form} | {bad.total()}/{len(some)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
