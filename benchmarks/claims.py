"""Whether a model's claim is kept, on cases with the right answer.

A case is a line of JSON: ``id``, ``lang``, ``form``, ``label`` (``supported`` or ``unsupported``), ``source`` (turns
with ``speaker``: ``user``, ``assistant`` or another's name, and ``text``), and the ``claim``, as a model might extract
it. It is verified as what a model says is, each turn in turn as its quote. *Rejected*: a supported one that is not
kept. *Stored*: an unsupported one that is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.aside import is_aside
from memsched.llm.extraction import verified
from memsched.llm.schemas import ExtractedMemory, Extraction

_ERRORS = (("supported", "rejected"), ("unsupported", "stored"))


@dataclass(frozen=True, slots=True)
class Claim:
    """What a model claims of a conversation, and whether the conversation says so."""

    id: str
    lang: str
    form: str
    label: str
    source: Sequence[Mapping[str, str]]
    claim: str

    @property
    def is_aside(self) -> bool:
        return is_aside(self.id)


@dataclass(frozen=True, slots=True)
class Judged:
    """Whether a claim was kept, and why not."""

    claim: Claim
    kept: bool
    reasons: tuple[str, ...] = ()

    @property
    def is_wrong(self) -> bool:
        return self.kept != (self.claim.label == "supported")


def read_claims(file: Path) -> list[Claim]:
    return [Claim(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def judged(claim: Claim) -> Judged:
    """What becomes of a claim, whichever turn it quotes."""
    texts = [turn["text"] for turn in claim.source]
    speakers = ["" if turn["speaker"] == "user" else turn["speaker"] for turn in claim.source]
    rejected: Counter[str] = Counter()
    kept = False
    for index, text in enumerate(texts):
        memory = ExtractedMemory(kind="fact", text=claim.claim, quote=text, source_turns=[index])
        found = verified(
            Extraction(memories=[memory]),
            texts,
            speakers=speakers,
            by_user=[not speaker for speaker in speakers],
            rejected=rejected,
        )
        kept = kept or bool(found)
    return Judged(claim, kept, tuple(sorted(rejected)))


def figures(outcomes: Sequence[Judged]) -> dict[str, float]:
    """The sums: how many of the supported ones were rejected, of the others stored."""
    found: dict[str, float] = {}
    for label, error in _ERRORS:
        some = [each for each in outcomes if each.claim.label == label]
        found |= {label: len(some), error: sum(each.is_wrong for each in some)}
    return found


def table(outcomes: Sequence[Judged]) -> str:
    """A row for each form, with the sum and each language in a column: errors, of how many."""
    languages = sorted({each.claim.lang for each in outcomes})
    lines = [f"| form | counted | all | {' | '.join(languages)} |", f"|---|---|{'---:|' * (1 + len(languages))}"]
    for label, error in _ERRORS:
        of_label = [each for each in outcomes if each.claim.label == label]
        for form in [*sorted({each.claim.form for each in of_label}), "all"]:
            some = [each for each in of_label if form in ("all", each.claim.form)]
            of = Counter(each.claim.lang for each in some)
            wrong = Counter(each.claim.lang for each in some if each.is_wrong)
            cells = [f"{wrong[lang]}/{of[lang]}" if of[lang] else "" for lang in languages]
            lines.append(f"| {form} | {error} | {wrong.total()}/{len(some)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
