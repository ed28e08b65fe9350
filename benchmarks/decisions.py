"""What is decided about memories: whether a later sentence puts an earlier one aside, on cases with the right answer.

A case is a line of JSON: ``id``, ``lang``, ``form``, ``label`` (``supersedes`` or ``keeps``), ``first``, ``later``, who
said them (``first_speaker``, ``later_speaker``: ``user``, ``assistant``, or somebody's name), and a ``question``. Each
is told to a cube of its own: the first sentence among four lines of small talk, then the later one.

- *harmed*: a ``keeps`` whose first sentence is superseded or archived, or was among the first three results of the
  question before and is not after. *linked*: the later one may revise it, which hides nothing.
- *seen*: a ``supersedes`` whose first sentence is superseded, or below the later one in the search for the question.
- *lost*: one of the two is in no memory.

Pairs that may say the same are in sameness.py, claims of a model in claims.py, what counts (vital statements,
preferences, secrets) in counts.py.

    python -m benchmarks decisions --data FILE [--where aside|tuned] [--only STEP,STEP]
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import claims, counts, sameness
from benchmarks.aside import is_aside
from benchmarks.stand_in import stand_in
from benchmarks.targets import Results, Target
from memsched import AsyncMemScheduler, ScheduleMessageItem, Settings
from memsched.embedded.teardown import end_servers
from memsched.logs import configure_logs
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.revision import revises
from memsched.memory.model import Memory
from memsched.memory.store.conditions import Conditions
from memsched.messages import ADD_TASK_LABEL

TARGETS: dict[str, Target] = {}
CORRECTIONS = "corrections.jsonl"
SAMENESS = "sameness.jsonl"
CLAIMS = (
    "claims.jsonl",
    "claims_more.jsonl",
    "claims_fresh.jsonl",
    "claims_plain.jsonl",
    "claims_turns.jsonl",
    "claims_doubted.jsonl",
    "claims_forms.jsonl",
)
_NAMED = (CORRECTIONS, SAMENESS, *CLAIMS)
_SMALL_TALK = {
    "en": ["It rained all afternoon.", "Lunch was good.", "That film was quite long.", "See you later then."],
    "de": ["Es hat den ganzen Nachmittag geregnet.", "Das Mittagessen war gut.", "Der Film war lang.", "Bis dann!"],
    "es": ["Llovió toda la tarde.", "La comida estuvo bien.", "La película fue larga.", "¡Hasta luego!"],
    "zh": ["下了一下午的雨。", "午饭很好吃。", "那部电影挺长的。", "回头见。"],
}
_BEGUN = datetime(2026, 3, 2, 9, tzinfo=UTC)
_LATER = timedelta(days=3)
_TOP = 3
_ASKED_FOR = 10
_MEMORIES = 50
_PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Case:
    """An earlier and a later sentence, and whether the later one puts the earlier one aside."""

    id: str
    lang: str
    form: str
    label: str
    first: str
    first_speaker: str
    later: str
    later_speaker: str
    question: str

    @property
    def is_aside(self) -> bool:
        return is_aside(self.id)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case."""

    case: Case
    superseded: bool = False
    harmed: bool = False
    seen: bool = False
    linked: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Sentence:
    """What somebody said, as the rule takes it."""

    text: str
    speaker: str
    kind: str = "turn"


class DecisionsBenchmark:
    """The rule alone on the two sentences, the product, and the product with a model that answers right; and of pairs
    that may say the same, what the product keeps; and which of a model's claims it believes.

    Args:
        data: files of cases (``sameness.jsonl`` and ``claims.jsonl`` by these names), and folders that hold some of
            them and ``corrections.jsonl``.
        where: "aside" or "tuned" for a part of the cases.
    """

    STEPS: tuple[str, ...] = ("rule", "product", "model", "sameness", "claims", *counts.ANSWERS)

    def __init__(self, results: Results, data: Sequence[Path] = (), where: str = "") -> None:
        self.results = results
        self.outcomes: dict[str, list[Outcome]] = {}
        named = (*_NAMED, *(f"{name}.jsonl" for name in counts.ANSWERS))
        files = [
            file
            for each in data
            for file in ([each / name for name in named if (each / name).exists()] if each.is_dir() else [each])
        ]
        pairs = [file for file in files if file.name == SAMENESS]
        claimed = [file for file in files if file.name in CLAIMS]
        counted = {file.stem: counts.read_cases(file) for file in files if file.stem in counts.ANSWERS}
        self.counted = {
            name: [case for case in counted.get(name, ()) if _is_asked_for(case, where)] for name in counts.ANSWERS
        }
        others = [file for file in files if file not in (*pairs, *claimed) and file.stem not in counts.ANSWERS]
        self.cases = [case for file in others for case in read_cases(file) if _is_asked_for(case, where)]
        self.pairs = [pair for file in pairs for pair in sameness.read_pairs(file) if _is_asked_for(pair, where)]
        self.claims = [each for file in claimed for each in claims.read_claims(file) if _is_asked_for(each, where)]

    async def run(self, only: list[str]) -> None:
        for step in only or self.STEPS:
            if step in counts.ANSWERS:
                self.results |= counts.figures(step, self.counted[step])
                print(f"\n{step}\n\n{counts.table(step, self.counted[step])}")
                continue
            if step == "sameness":
                kept = await sameness.by_product(self.pairs)
                self.results |= {f"sameness_{name}": value for name, value in sameness.figures(kept).items()}
                print(f"\n{step}\n\n{sameness.table(kept)}")
                continue
            if step == "claims":
                believed = [claims.judged(each) for each in self.claims]
                self.results |= {f"claims_{name}": value for name, value in claims.figures(believed).items()}
                print(f"\n{step}\n\n{claims.table(believed)}")
                continue
            if step == "rule":
                outcomes = [by_rule(case) for case in self.cases]
            elif step == "product":
                outcomes = await by_product(self.cases)
            else:
                with stand_in({(case.later, case.first) for case in self.cases if case.label == "supersedes"}) as url:
                    outcomes = await by_product(self.cases, {"llm_model": "stand-in", "llm_base_url": url})
            self.outcomes[step] = outcomes
            self.results |= {f"{step}_{name}": value for name, value in figures(outcomes).items()}
            print(f"\n{step}\n\n{table(outcomes)}")


def read_cases(file: Path) -> list[Case]:
    return [Case(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _is_asked_for(case: Case | sameness.Pair | claims.Claim | counts.Case, where: str) -> bool:
    return not where or case.is_aside == (where == "aside")


# -- deciding ------------------------------------------------------------------------------------------------------


def by_rule(case: Case) -> Outcome:
    """What the rule says of the two sentences: a link counts as seen, for it ranks the later one above."""
    newer = Sentence(case.later, _speaker(case.later_speaker))
    older = Sentence(case.first, _speaker(case.first_speaker))
    verdict = revises(newer, older).verdict
    keeps = case.label == "keeps"
    return Outcome(
        case,
        superseded=verdict == "supersedes",
        harmed=keeps and verdict == "supersedes",
        seen=not keeps and verdict != "unrelated",
        linked=verdict == "may_revise",
    )


async def by_product(cases: Sequence[Case], model: Mapping[str, str] | None = None) -> list[Outcome]:
    """What a scheduler on the embedded default makes of them.

    Args:
        model: settings of a language model.
    """
    folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
    settings = Settings.load(
        redis_url=f"embedded://{folder}", qdrant_url="", memory=True, log_level="error", **(model or {})
    )
    configure_logs(settings)
    try:
        async with AsyncMemScheduler(settings) as scheduler:
            await scheduler.start()
            for case in cases:
                await _tell(scheduler, case, [*_among_small_talk(case)], _BEGUN)
            await scheduler.wait(timeout=_PATIENCE)
            before = [await _found(scheduler, case) for case in cases]
            for case in cases:
                await _tell(scheduler, case, [_said(case.later_speaker, case.later)], _BEGUN + _LATER)
            await scheduler.wait(timeout=_PATIENCE)
            return [
                _outcome(case, found, await _found(scheduler, case), await _memories(scheduler, case))
                for case, found in zip(cases, before, strict=True)
            ]
    finally:
        end_servers(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _outcome(case: Case, before: Sequence[str], after: Sequence[str], memories: Sequence[Memory]) -> Outcome:
    kept = {memory.text: memory for memory in memories}
    first, later = kept.get(case.first), kept.get(case.later)
    if first is None or later is None:
        return Outcome(case, lost=True, harmed=case.label == "keeps")
    superseded = first.superseded_by is not None
    was_found, is_found = case.first in before[:_TOP], case.first in after[:_TOP]
    put_aside = superseded or first.status == "archived"
    is_above = case.later in after and (case.first not in after or after.index(case.later) < after.index(case.first))
    keeps = case.label == "keeps"
    return Outcome(
        case,
        superseded=superseded,
        harmed=keeps and (put_aside or (was_found and not is_found)),
        seen=not keeps and (superseded or is_above),
        linked=bool(first.may_be_revised_by),
    )


def _speaker(name: str) -> str:
    """As the scheduler names whoever said it: a user without a name has none."""
    return "" if name == "user" else name


def _said(speaker: str, text: str) -> dict[str, Any]:
    who = {"role": speaker} if speaker in ("user", "assistant") else {"speaker": speaker}
    return {**who, "content": text}


def _among_small_talk(case: Case) -> Iterable[dict[str, Any]]:
    talk = [_said("user", text) for text in _SMALL_TALK[case.lang]]
    return [*talk[:2], _said(case.first_speaker, case.first), *talk[2:]]


async def _tell(scheduler: AsyncMemScheduler, case: Case, turns: Sequence[Mapping[str, Any]], at: datetime) -> None:
    message = ScheduleMessageItem(
        user_id=case.id,
        mem_cube_id=case.id,
        label=ADD_TASK_LABEL,
        content="",
        timestamp=at,
        chat_history=[
            {**turn, "timestamp": (at + timedelta(minutes=number)).isoformat()} for number, turn in enumerate(turns)
        ],
    )
    await scheduler.submit_messages(message)


async def _found(scheduler: AsyncMemScheduler, case: Case) -> list[str]:
    results = await scheduler.retriever.search(case.question, case.id, case.id, top_k=_ASKED_FOR)
    return [result.memory for result in results]


async def _memories(scheduler: AsyncMemScheduler, case: Case) -> list[Memory]:
    store = (await scheduler.memory()).store
    return await store.newest(CubeRef(case.id, case.id), _MEMORIES, Conditions(include_archived=True))


# -- telling -------------------------------------------------------------------------------------------------------


def figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The sums: how many of the true ones were seen, of the false ones harmed, and which were lost."""
    true = [each for each in outcomes if each.case.label == "supersedes"]
    false = [each for each in outcomes if each.case.label == "keeps"]
    return {
        "supersedes": len(true),
        "seen": sum(each.seen for each in true),
        "seen_superseded": sum(each.superseded for each in true),
        "keeps": len(false),
        "harmed": sum(each.harmed for each in false),
        "keeps_linked": sum(each.linked for each in false),
        "lost": sum(each.lost for each in outcomes),
    }


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each form, with the sum and each language in a column: seen or harmed, of how many."""
    languages = sorted({each.case.lang for each in outcomes})
    lines = [f"| form | counted | all | {' | '.join(languages)} |", f"|---|---|{'---:|' * (1 + len(languages))}"]
    for label, name in (("supersedes", "seen"), ("keeps", "harmed")):
        of_label = [each for each in outcomes if each.case.label == label]
        for form in [*sorted({each.case.form for each in of_label}), "all"]:
            some = [each for each in of_label if form in ("all", each.case.form)]
            told = {name: Counter(each.case.lang for each in some if getattr(each, name))}
            of = Counter(each.case.lang for each in some)
            cells = [f"{told[name][lang]}/{of[lang]}" if of[lang] else "" for lang in languages]
            lines.append(f"| {form} | {name} | {told[name].total()}/{len(some)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def markdown(results: Results) -> str:
    """The sums."""
    lines = [f"| {name} | {value:.0f} |" for name, value in results.items()]
    return "\n".join(["| measured | value |", "|---|---:|", *lines]) + "\n"
