"""Whether a model's claim is kept, on cases with the right answer.

A case is a line of JSON: ``id``, ``lang``, ``form``, ``label`` (``supported`` or ``unsupported``), ``source`` (turns
with ``speaker``: ``user``, ``assistant`` or another's name, and ``text``), and the ``claim``, as a model might extract
it. It is verified as what a model says is, each turn in turn as its quote. *Rejected*: a supported one that is not
kept. *Stored*: an unsupported one that is. *Asked about* are those that the rules leave open: whether they are kept, a
model says that is asked once more. So what is stored lies between *stored* and *stored or asked about*.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.aside import is_aside
from memsched.llm.extraction import OpenClaim, verified
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
    is_open: bool = False

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
    unsure: list[OpenClaim] = []
    for index, text in enumerate(texts):
        memory = ExtractedMemory(kind="fact", text=claim.claim, quote=text, source_turns=[index])
        found = verified(
            Extraction(memories=[memory]),
            texts,
            speakers=speakers,
            by_user=[not speaker for speaker in speakers],
            rejected=rejected,
            unsure=unsure,
        )
        kept = kept or bool(found)
    reasons = tuple(sorted({*rejected, *(each.doubt for each in unsure)}))
    return Judged(claim, kept, reasons, is_open=bool(unsure) and not kept)


def figures(outcomes: Sequence[Judged]) -> dict[str, float]:
    """The sums: how many of the supported ones were rejected, of the others stored, and how many are asked about."""
    found: dict[str, float] = {}
    for label, error in _ERRORS:
        some = [each for each in outcomes if each.claim.label == label]
        found |= {label: len(some), error: sum(each.is_wrong for each in some)}
        found[f"{label}_asked"] = sum(each.is_open for each in some)
    return found


def table(outcomes: Sequence[Judged]) -> str:
    """A row for each form, with the sum and each language in a column: errors, of how many."""
    languages = sorted({each.claim.lang for each in outcomes})
    lines = [f"| form | counted | all | {' | '.join(languages)} |", f"|---|---|{'---:|' * (1 + len(languages))}"]
    for label, error in _ERRORS:
        of_label = [each for each in outcomes if each.claim.label == label]
        for form in [*sorted({each.claim.form for each in of_label}), "all"]:
            some = [each for each in of_label if form in ("all", each.claim.form)]
            lines.append(_row(form, error, some, [each for each in some if each.is_wrong], languages))
        lines.append(_row("all", "asked about", of_label, [each for each in of_label if each.is_open], languages))
    return "\n".join(lines) + "\n"


def _row(form: str, counted: str, of: Sequence[Judged], some: Sequence[Judged], languages: Sequence[str]) -> str:
    every, told = (Counter(each.claim.lang for each in among) for among in (of, some))
    cells = [f"{told[lang]}/{every[lang]}" if every[lang] else "" for lang in languages]
    return f"| {form} | {counted} | {told.total()}/{len(of)} | {' | '.join(cells)} |"
