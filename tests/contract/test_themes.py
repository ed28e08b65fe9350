"""Which theme of a cube is hot, while one takes over from another."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from support.memories import idle, said
from support.processes import clean_environment
from support.stories import CHATTER, HOUSE, RENOVATION, REQUEST

from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.policy.theme import Theme

pytestmark = pytest.mark.timeout(60)

MINUTES = 24 * 60


@pytest.fixture
async def scheduler(memory_schedulers: Callable[..., AsyncMemScheduler]) -> AsyncMemScheduler:
    made = memory_schedulers()
    await made.start()
    return made


def told(lines: Sequence[tuple[int, str]]) -> list[ScheduleMessageItem]:
    return [said(text, day * MINUTES, session_id=f"day {day}") for day, text in lines]


async def tell(scheduler: AsyncMemScheduler, *messages: ScheduleMessageItem) -> None:
    await scheduler.submit_messages(messages)
    await idle(scheduler)


async def texts_of(scheduler: AsyncMemScheduler, theme: Theme) -> set[str]:
    services = await scheduler.memory()
    return {each.text for each in (await services.store.get(CubeRef("alice", "home"), theme.memory_ids)).values()}


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_the_theme_of_late_takes_over(scheduler: AsyncMemScheduler, language: str) -> None:
    house, renovation = ({text for _, text in each[language]} - CHATTER for each in (HOUSE, RENOVATION))
    await tell(scheduler, *told(HOUSE[language]))
    (before, *_) = await scheduler.themes("alice", "home")

    await tell(scheduler, *told(RENOVATION[language]))
    (after, *others) = await scheduler.themes("alice", "home")

    assert before.state == after.state == "activated"
    assert await texts_of(scheduler, before) <= house
    assert await texts_of(scheduler, after) <= renovation
    assert {theme.state for theme in others} == {"plaintext"}
    assert after.label.split(", ")[0] in " ".join(renovation).lower()


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_a_vague_request_brings_the_running_theme_and_nothing_else_until_it_is_answered(
    scheduler: AsyncMemScheduler, language: str
) -> None:
    renovation = {text for _, text in RENOVATION[language]} - CHATTER
    await tell(scheduler, *told(HOUSE[language]), *told(RENOVATION[language]))

    await tell(scheduler, said(REQUEST[language], 34 * MINUTES, "query"))

    near = await scheduler.working_set("alice", "home")
    assert {each.text for each in near[: len(renovation)]} == renovation
    assert len({each.theme for each in near[: len(renovation)]} - {""}) == 1
    assert {tuple(each.parts) for each in near[: len(renovation)]} == {("running theme",)}
    # what is told meanwhile does not end it; the answer does
    await tell(scheduler, said(next(iter(CHATTER & {text for _, text in HOUSE[language]})), 34 * MINUTES + 1))
    near = await scheduler.working_set("alice", "home")
    assert {each.text for each in near[: len(renovation)]} == renovation
    await tell(scheduler, said("OK!", 34 * MINUTES + 2, "answer"))
    assert len((await scheduler.working_set("alice", "home"))[0].parts) > 1


async def test_themes_are_shown_to_who_may_read_the_cube_and_hold_nothing_that_was_deleted(
    scheduler: AsyncMemScheduler, memory_place: dict[str, Any]
) -> None:
    services = await scheduler.memory()
    await tell(scheduler, *told(HOUSE["en"]))
    (theme,) = await scheduler.themes("alice", "home")
    memories = await services.store.get(CubeRef("alice", "home"), theme.memory_ids[:2])

    await services.cubes.share("alice", "home", "bob", Permission.READ, accepted=True)
    await services.deletion.delete(CubeRef("alice", "home"), list(memories.values()), user_id="alice", name="home")

    (left,) = await scheduler.themes("bob", "alice/home")
    assert left.memory_ids == theme.memory_ids[2:]
    assert await scheduler.themes("bob", "home") == []
    environment = clean_environment(**{f"MEMSCHED_{name.upper()}": str(value) for name, value in memory_place.items()})
    await (await scheduler.memory()).cubes.register("bob", "home")
    shown, empty = await asyncio.gather(
        printed(environment, "--user", "bob", "--cube", "alice/home"),
        printed(environment, "--user", "bob", "--cube", "home", "--json"),
    )
    assert re.search(rf"{left.label} +activated +{left.heat:.1f} +{len(left.memory_ids)} .*{left.theme_id}", shown)
    assert json.loads(empty) == []


async def printed(environment: dict[str, str], *words: str) -> str:
    """What `memsched themes` prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "memsched.cli", "themes", *words), stdout=asyncio.subprocess.PIPE, env=environment
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()
