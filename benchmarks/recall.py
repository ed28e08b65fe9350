"""How much of what a question needs search finds: in short talks, in other languages, with a word misspelt.

Turns are told to a scheduler on the embedded default, and asked for through its retriever. The talks in German, Spanish
and Chinese are this project's own (``benchmarks/data``); ``--data`` brings conversations in the form of LoCoMo (a
file), and theme stories (a folder). Another version of memsched is measured on the same questions by this file itself:

    PYTHONPATH=ITS_CHECKOUT python benchmarks/recall.py --data locomo.json
"""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.targets import Results, Target, at_least
from memsched import AsyncMemScheduler, ScheduleMessageItem, Settings
from memsched.embedded.teardown import end_servers
from memsched.evaluation.locomo import Conversation, Question, Session, Utterance, read_conversations
from memsched.lexicon import is_without_spaces, stems
from memsched.logs import configure_logs
from memsched.messages import ADD_TASK_LABEL, QUERY_TASK_LABEL

DEPTHS = (1, 3, 5, 10, 20)
SHORTEST, LONGEST = 10, 75
"""Turns of a stretch that is cut out of a talk."""
TARGETS: dict[str, Target] = {"misspelt_recall_at_10": at_least("misspelt_recall_at_10", 0.74, "of the evidence")}
Sets = Iterator[tuple[str, list[Conversation]]]
"""Names of sets of questions, and the talks that they are about, each in a cube of its own."""

_LANGUAGES = ("de", "es", "zh")
_CUBE = "talk"
_TURN_SECONDS = 30
_PATIENCE = 300.0
_SEED = 1
_LEAST_LETTERS = 5
"""Of a word that is misspelt, or a keyword."""
_LEAST_PIECES = 3
_SHARE_ASKED_FOR = 1 / 3


class RecallBenchmark:
    """All sets in order.

    Args:
        data: files of conversations in the form of LoCoMo, and folders of theme stories.

    Attributes:
        shares: by set and depth, how much of its evidence was found for each question, in their order.
    """

    STEPS: tuple[str, ...] = ("languages", "stories", "short", "whole", "misspelt")

    def __init__(self, results: Results, data: Sequence[Path] = ()) -> None:
        self.results = results
        self.shares: dict[str, dict[int, list[float]]] = {}
        self._talks = [talk for each in data if each.is_file() for talk in read_conversations(each)]
        self._stories = [file for each in data if each.is_dir() for file in sorted(each.glob("*.json"))]

    async def run(self, only: list[str]) -> None:
        """Run the steps for which there are data; fills in the flat results."""
        folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
        settings = Settings.load(redis_url=f"embedded://{folder}", qdrant_url="", memory=True, log_level="error")
        configure_logs(settings)
        self.scheduler = AsyncMemScheduler(settings)
        await self.scheduler.start()
        try:
            for step in only or self.STEPS:
                for name, talks in getattr(self, f"_{step}_sets")():
                    if talks:
                        print(f"{name} ...", file=sys.stderr, flush=True)
                        await self._measure(name, talks)
        finally:
            await self.scheduler.stop()
            end_servers(folder)
            shutil.rmtree(folder, ignore_errors=True)

    # -- sets ----------------------------------------------------------------------------------------------------

    def _languages_sets(self) -> Sets:
        """Each talk in a cube of its own; all talks of a language in one; and each with its turns in any order, so that
        what was said around a turn says nothing about it.
        """
        for language in _LANGUAGES:
            talks = read_conversations(Path(__file__).parent / "data" / f"talks_{language}.json")
            yield language, talks
            yield f"{language}_together", [_together(talks)]
            yield f"{language}_shuffled", [_shuffled(talk) for talk in talks]
            yield f"{language}_keywords", [_with_keywords(talk) for talk in talks]

    def _stories_sets(self) -> Sets:
        by_language: dict[str, list[Conversation]] = defaultdict(list)
        for file in self._stories:
            language, talk = read_story(file)
            by_language[language].append(talk)
        for language, talks in sorted(by_language.items()):
            yield f"stories_{language}", talks
            yield f"stories_{language}_together", [_together(talks)]
            yield f"stories_{language}_keywords", [_with_keywords(talk) for talk in talks]

    def _short_sets(self) -> Sets:
        """Each talk cut into stretches; each question asked where all of its evidence is. The same with turns in any
        order, and with keywords.
        """
        stretches = [stretch for talk in self._talks for stretch in stretches_of(talk)]
        yield "short", stretches
        yield "short_shuffled", [_shuffled(stretch) for stretch in stretches]
        yield "short_keywords", [_with_keywords(stretch) for stretch in stretches]

    def _whole_sets(self) -> Sets:
        yield "whole", self._talks

    def _misspelt_sets(self) -> Sets:
        yield "misspelt", [_with_misspelt_questions(talk) for talk in self._talks]

    # -- measuring -----------------------------------------------------------------------------------------------

    async def _measure(self, name: str, talks: Sequence[Conversation]) -> None:
        by_depth: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
        for number, talk in enumerate(talks):
            user = f"{name} {number}"
            await tell(self.scheduler, user, talk)
            for question in talk.questions:
                results = await self.scheduler.retriever.search(question.text, user, _CUBE, top_k=max(DEPTHS))
                sources = [set(result.item.sources.values()) for result in results]
                for depth, shares in by_depth.items():
                    told = set[str]().union(*sources[:depth])
                    shares.append(len(question.evidence & told) / len(question.evidence))
        self.shares[name] = by_depth
        self.results[f"{name}_questions"] = len(by_depth[DEPTHS[0]])
        for depth, shares in by_depth.items():
            self.results[f"{name}_recall_at_{depth}"] = round(fmean(shares), 4)
            self.results[f"{name}_recall_at_{depth}_se"] = round(stdev(shares) / len(shares) ** 0.5, 4)


async def tell(scheduler: AsyncMemScheduler, user: str, talk: Conversation) -> None:
    """Tell a talk to a cube of this user, and wait until it is remembered. Captions of pictures are left out."""
    messages = [
        ScheduleMessageItem(
            user_id=user,
            mem_cube_id=_CUBE,
            label=ADD_TASK_LABEL,
            content="",
            session_id=session.name,
            timestamp=session.began,
            chat_history=[
                {
                    "speaker": turn.speaker,
                    "content": turn.text,
                    "id": turn.reference,
                    "timestamp": (session.began + timedelta(seconds=_TURN_SECONDS * number)).isoformat(),
                }
                for number, turn in enumerate(session.turns)
            ],
        )
        for session in talk.sessions
    ]
    await scheduler.submit_messages(messages)
    await scheduler.wait(user_id=user, timeout=_PATIENCE)


def markdown(results: Results) -> str:
    """A row for each set: its questions, recall at each depth, and the standard error at 10."""
    lines = [
        f"| set | questions | {' | '.join(f'@{depth}' for depth in DEPTHS)} | se @10 |",
        f"|---|{'---:|' * (len(DEPTHS) + 2)}",
    ]
    for name in [each.removesuffix("_questions") for each in results if each.endswith("_questions")]:
        cells = [f"{100 * results[f'{name}_recall_at_{depth}']:.1f}" for depth in DEPTHS]
        error = f"{100 * results[f'{name}_recall_at_10_se']:.1f}"
        lines.append(f"| {name} | {results[f'{name}_questions']:.0f} | {' | '.join(cells)} | {error} |")
    return "\n".join(lines) + "\n"


# -- talks made of others ------------------------------------------------------------------------------------------


def _together(talks: Sequence[Conversation]) -> Conversation:
    """All in one, where each turn and session has the talk's name before its own."""
    sessions = [
        replace(session, name=f"{talk.name} {session.name}", turns=[_named(talk, turn) for turn in session.turns])
        for talk in talks
        for session in talk.sessions
    ]
    questions = [
        replace(question, evidence=frozenset(f"{talk.name} {each}" for each in question.evidence))
        for talk in talks
        for question in talk.questions
    ]
    return Conversation("together", sessions, questions, 0)


def _named(talk: Conversation, turn: Utterance) -> Utterance:
    return replace(turn, reference=f"{talk.name} {turn.reference}")


def stretches_of(talk: Conversation) -> Iterator[Conversation]:
    """A talk cut into stretches of 10 to 75 turns, with the questions whose evidence is all in one."""
    chosen = random.Random(f"{_SEED} {talk.name}")
    left = [(session, turn) for session in talk.sessions for turn in session.turns]
    while left:
        length = chosen.randint(SHORTEST, LONGEST)
        cut, left = left[:length], left[length:]
        turns: dict[str, list[Utterance]] = defaultdict(list)
        for session, turn in cut:
            turns[session.name].append(turn)
        sessions = [replace(each, turns=turns[each.name]) for each in talk.sessions if each.name in turns]
        there = {turn.reference for _, turn in cut}
        questions = [question for question in talk.questions if question.evidence <= there]
        if questions:
            yield Conversation(talk.name, sessions, questions, 0)


def _shuffled(talk: Conversation) -> Conversation:
    """Each turn at another's place in some session: sessions keep their times and lengths."""
    turns = [turn for session in talk.sessions for turn in session.turns]
    random.Random(f"{_SEED} {talk.name}").shuffle(turns)
    left = iter(turns)
    return replace(talk, sessions=[replace(each, turns=[next(left) for _ in each.turns]) for each in talk.sessions])


def _with_keywords(talk: Conversation) -> Conversation:
    """Asked for its turns by two of their own words, or pieces of them: some turn in three, in the same ones always.

    What was said around a turn can only mislead here.
    """
    chosen = random.Random(f"{_SEED} {talk.name}")
    questions: list[Question] = []
    for turn in (turn for session in talk.sessions for turn in session.turns):
        pieces = [piece for word in re.findall(r"[^\W\d_]+", turn.text) for piece in _pieces(word)]
        if len(pieces) >= _LEAST_PIECES and chosen.random() < _SHARE_ASKED_FOR:
            text = " ".join(chosen.sample(pieces, 2))
            questions.append(Question(text, "", frozenset([turn.reference]), "other"))
    return replace(talk, questions=questions)


def _pieces(word: str) -> list[str]:
    """A word that is long enough to say something; of a script without spaces, every three characters."""
    if is_without_spaces(word):
        return [word[at : at + 3] for at in range(0, len(word) - 2, 3)]
    return [word] if len(word) >= _LEAST_LETTERS and stems(word) else []


def _with_misspelt_questions(talk: Conversation) -> Conversation:
    names = {stem for session in talk.sessions for turn in session.turns for stem in stems(turn.speaker)}
    questions = [replace(question, text=_misspelt(question.text, names)) for question in talk.questions]
    return replace(talk, questions=questions)


def _misspelt(question: str, names: set[str]) -> str:
    """With two inner letters of a content word swapped, or one left out; the same in every run. Names stay."""
    chosen = random.Random(f"{_SEED} {question}")
    words = question.split(" ")
    able = [
        number
        for number, word in enumerate(words)
        if len(word.strip("?.,!\"'")) >= _LEAST_LETTERS
        and word.strip("?.,!\"'").isalpha()
        and (found := stems(word))
        and not names.intersection(found)
    ]
    if able:
        number = chosen.choice(able)
        word = words[number]
        letters = word.strip("?.,!\"'")
        swaps = [at for at in range(1, len(letters) - 2) if letters[at] != letters[at + 1]]
        if swaps and chosen.random() < 0.5:
            at = chosen.choice(swaps)
            wrong = letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :]
        else:
            at = chosen.randrange(1, len(letters) - 1)
            wrong = letters[:at] + letters[at + 1 :]
        words[number] = word.replace(letters, wrong)
    return " ".join(words)


def read_story(file: Path) -> tuple[str, Conversation]:
    """The language of a theme story; what it tells, a session a day, with its questions that an answer's turns
    answer.
    """
    story = json.loads(file.read_text(encoding="utf-8"))
    begin = datetime.fromisoformat(story["begin"]).replace(tzinfo=UTC)
    turns: dict[int, list[Utterance]] = defaultdict(list)
    questions: list[Question] = []
    asked = ""
    for number, line in enumerate(story["messages"]):
        if line["label"] == ADD_TASK_LABEL:
            turns[line["day"]].append(Utterance(line.get("speaker", line["role"]), line["text"], str(number)))
        elif line["label"] == QUERY_TASK_LABEL:
            asked = line["text"]
        elif line.get("uses"):
            questions.append(Question(asked, line["text"], frozenset(map(str, line["uses"])), "other"))
    sessions = [Session(f"day {day}", begin + timedelta(days=day), said) for day, said in turns.items()]
    return story["lang"], Conversation(story["id"], sessions, questions, 0)


if __name__ == "__main__":
    import argparse
    import asyncio

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="conversations (a file), stories (a folder)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file, as one flat object")
    parser.add_argument("--only", default="", help="comma-separated steps, in place of all of them")
    given = parser.parse_args()
    measured = RecallBenchmark({}, given.data)
    asyncio.run(measured.run([step for step in given.only.split(",") if step]))
    print(markdown(measured.results), end="")
    if given.json:
        given.json.write_text(json.dumps(measured.results, indent=2) + "\n", encoding="utf-8")
