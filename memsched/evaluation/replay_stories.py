"""Replays theme stories through the real pipeline, and looks at what is near before and after a vague request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from statistics import fmean
from typing import Any

from memsched.evaluation.replay import Progress
from memsched.evaluation.stories import CHATTER, Line, Story
from memsched.lexicon import words
from memsched.memory.access.permissions import CubeRef
from memsched.messages import ADD_TASK_LABEL, QUERY_TASK_LABEL, ScheduleMessageItem
from memsched.scheduler import AsyncMemScheduler

FIRST = 10
"""How many of the working set are looked at."""
_CUBE = "story"
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Near:
    """What the first ten of a working set hold.

    Args:
        precision: share that is about the theme which is hot.
        recall: share of the open matters (of ten at most).
        old: how many are about a theme that is over. chatter: how many about none.
    """

    precision: float
    recall: float
    old: float
    chatter: float


@dataclass(frozen=True, slots=True)
class StoryScores:
    """What was measured on one story.

    Args:
        hottest: at how many of ``checks`` the hottest theme was the right one.
    """

    story: Story
    before: Near
    after: Near
    hottest: int
    checks: int


def mean_of(scores: Sequence[StoryScores]) -> tuple[Near, Near, int, int]:
    """The means before and after, and the sums of the checks."""

    def mean(near: Sequence[Near]) -> Near:
        columns = zip(*(asdict(each).values() for each in near), strict=True)
        return Near(*(fmean(column) for column in columns))

    before, after = mean([each.before for each in scores]), mean([each.after for each in scores])
    return before, after, sum(each.hottest for each in scores), sum(each.checks for each in scores)


def as_flat(scores: Sequence[StoryScores]) -> dict[str, float]:
    """The means of all, and by language, as one flat object; shares rounded to 4 digits."""
    flat: dict[str, float] = {"stories": len(scores)}
    for suffix, group in {"": list(scores), **{f"_{name}": each for name, each in by_language(scores).items()}}.items():
        before, after, right, checks = mean_of(group)
        for when, near in (("before", before), ("after", after)):
            flat |= {f"{name}_{when}{suffix}": round(value, 4) for name, value in asdict(near).items()}
        flat[f"hottest_right{suffix}"] = round(right / checks, 4) if checks else 0.0
    return flat


def by_language(scores: Sequence[StoryScores]) -> dict[str, list[StoryScores]]:
    found: dict[str, list[StoryScores]] = {}
    for each in scores:
        found.setdefault(each.story.language, []).append(each)
    return found


async def replay_stories(
    scheduler: AsyncMemScheduler, stories: Sequence[Story], progress: Progress
) -> list[StoryScores]:
    """Replay all, one after another; each belongs to a user of its own."""
    found = []
    for story in stories:
        found.append(await _replay(scheduler, story))
        progress(story.name, len(story.lines) + 1)
    return found


async def _replay(scheduler: AsyncMemScheduler, story: Story) -> StoryScores:
    user = f"teller of {story.name}"
    right = 0
    checks = {check.messages: check.hot for check in story.checks}
    at_end = checks.pop(len(story.lines), None)
    waiting: list[ScheduleMessageItem] = []
    for number, line in enumerate(story.lines, 1):
        message = _message(user, line.label, line.text, line.at, line)
        if line.label != ADD_TASK_LABEL:
            await _hand_in(scheduler, user, waiting)  # what was told stands when somebody asks
        waiting.append(message)
        if line.label != ADD_TASK_LABEL or number in checks:
            await _hand_in(scheduler, user, waiting)
        if number in checks:
            right += await _hottest(scheduler, user, story) == checks[number]
    await _hand_in(scheduler, user, waiting)
    before = await _near(scheduler, user, story)
    request = _message(user, QUERY_TASK_LABEL, story.request, story.requested_at)
    await _hand_in(scheduler, user, [request])
    after = await _near(scheduler, user, story)
    if at_end is not None:
        right += await _hottest(scheduler, user, story) == at_end
    return StoryScores(story, before, after, right, len(story.checks))


async def _hand_in(scheduler: AsyncMemScheduler, user: str, messages: list[ScheduleMessageItem]) -> None:
    if messages:
        await scheduler.submit_messages(messages)
        await scheduler.wait(user_id=user, timeout=_PATIENCE_SECONDS)
        messages.clear()


async def _near(scheduler: AsyncMemScheduler, user: str, story: Story) -> Near:
    near = _lines_of(story, [each.text for each in (await scheduler.working_set(user, _CUBE))[:FIRST]])
    themes = Counter(line.theme for line in near)
    wanted = min(FIRST, sum(line.is_open for line in story.lines))
    return Near(
        precision=themes[story.hot] / len(near) if near else 0.0,
        recall=sum(line.is_open for line in near) / wanted if wanted else 0.0,
        old=len(near) - themes[story.hot] - themes[CHATTER],
        chatter=themes[CHATTER],
    )


async def _hottest(scheduler: AsyncMemScheduler, user: str, story: Story) -> str:
    """What most memories of the hottest theme are about; "" without one."""
    themes = await scheduler.themes(user, _CUBE)
    if not themes:
        return ""
    services = await scheduler.memory()
    memories = await services.store.get(CubeRef(user, _CUBE), themes[0].memory_ids)
    about = Counter(line.theme for line in _lines_of(story, [each.text for each in memories.values()]))
    return about.most_common(1)[0][0] if about else ""


def _lines_of(story: Story, texts: Iterable[str]) -> list[Line]:
    """The lines that were told in these texts, apart from those that count for nothing."""
    told = {
        _key(line.text): line
        for place, line in enumerate(story.lines)
        if line.label == ADD_TASK_LABEL and place not in story.always
    }
    return [line for text in texts if (line := told.get(_key(text))) is not None]


def _key(text: str) -> str:
    """The text, case and punctuation aside."""
    return " ".join(words(text))


def _message(user: str, label: str, text: str, at: datetime, line: Line | None = None) -> ScheduleMessageItem:
    """One message as an application would send it: what was told as a conversation of one turn."""
    told: dict[str, Any] = {}
    if label == ADD_TASK_LABEL and line is not None:
        turn = {"role": line.role, "content": text} | ({"name": line.spoken_by} if line.spoken_by else {})
        told = {"chat_history": [turn]}
    return ScheduleMessageItem(
        user_id=user,
        mem_cube_id=_CUBE,
        label=label,
        content="" if told else text,
        timestamp=at,
        session_id=f"{at:%Y-%m-%d}",
        **told,
    )
