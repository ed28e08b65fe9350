"""Tenants whose ids run into each other, with equal item ids and words: nobody ever sees what another one said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.llm import Asked, FakeLLM, Reply, says
from support.memories import found, idle, memories_of, put, said, texts_of
from support.outcome import dead_letters

from memsched import AsyncMemScheduler, AsyncMOS
from memsched.mos.options import MosOptions

pytestmark = pytest.mark.timeout(90)

TENANTS = [
    # what is equal when both ids are put together by some mark
    ("a", "b"),
    ("a/b", "c"),
    ("a", "b/c"),
    ("a:b", "c"),
    ("a", "b:c"),
    ("a|b", "c"),
    ("a", "b|c"),
    ("a b", "c"),
    # what means something in a key, a pattern, a format, an escaping, a query
    ("a%2Fb", "c"),
    ("a%252Fb", "c"),
    ("{a}", "b"),
    ("{a", "b}"),
    ("*", "c"),
    ("a", "*"),
    ("a'", '"b\n'),
    # what looks equal to a careless eye: case, forms of a letter
    ("A", "b"),
    ("\u00e9", "b"),
    ("e\u0301", "b"),
    ("\u24b6", "b"),
]
CHATTING = TENANTS[:8]
SAME = ["We talked about the code of the safe.", "The safe is in the cellar."]
QUESTION = "What is the code of the safe?"


def word(number: int) -> str:
    """No time, id or text has it by chance."""
    return f"zulu{number:02d}"


def secret(number: int) -> str:
    return f"The code of the safe is {word(number)}."


def foreign(text: str, number: int) -> list[int]:
    """The tenants whose secrets are in a text, but for one's own."""
    return [other for other in range(len(TENANTS)) if other != number and word(other) in text]


@pytest.fixture
def model() -> Iterator[FakeLLM]:
    """It repeats all that it was told, as far as it can."""

    def answer(asked: Asked) -> Reply:
        return says('{"memories": []}') if asked.body.get("response_format") else says(f"I was told: {asked.prompt}")

    with FakeLLM(answer) as server:
        yield server


@pytest.fixture
async def scheduler(memory_schedulers: Callable[..., AsyncMemScheduler], model: FakeLLM) -> AsyncMemScheduler:
    """One installation, in which every tenant said the same, but for a secret of his own, with the same item ids."""
    made = memory_schedulers(llm_model="m", llm_base_url=model.url, llm_api_key="k")
    await made.start()
    for number, (user, cube) in enumerate(TENANTS):
        for place, text in enumerate([*SAME, secret(number)]):
            await put(made, said(text, place, user_id=user, mem_cube_id=cube, item_id=f"same-{place}"))
        await put(made, said(QUESTION, 5, "query", user_id=user, mem_cube_id=cube, item_id="same-q"))
    await idle(made)
    for number, (user, cube) in enumerate(TENANTS):
        await put(made, said(secret(number), 6, "answer", user_id=user, mem_cube_id=cube, item_id="same-n"))
    await idle(made)
    assert await dead_letters(made) == []
    model.asked.clear()
    return made


async def test_search_working_set_and_events_hold_ones_own_only(scheduler: AsyncMemScheduler) -> None:
    events = await scheduler.get_web_log_messages(10_000)
    seen: set[str] = set()
    for number, (user, cube) in enumerate(TENANTS):
        everything = {*SAME, secret(number)}
        for method in ("hybrid", "dense", "lexical"):
            assert set(await found(scheduler, QUESTION, user, cube, method=method)) == everything
        assert set(await texts_of(scheduler, user, cube)) == everything

        memories = await memories_of(scheduler, user, cube)
        assert {memory.text: memory.use_count > 0 for memory in memories}[secret(number)]
        assert seen.isdisjoint(memory.memory_id for memory in memories)
        seen |= {memory.memory_id for memory in memories}

        own = [event for event in events if (event.user_id, event.mem_cube_id) == (user, cube)]
        assert {"add", "query", "mem_update", "answer"} <= {event.label for event in own}
        assert not any(foreign(event.model_dump_json(), number) for event in own)
        assert {event.current_memory_sizes["long_term_memory_size"] for event in own} <= {-1, 1, 2, 3}


async def test_a_chat_knows_ones_own_only(scheduler: AsyncMemScheduler, model: FakeLLM) -> None:
    mos = AsyncMOS.over(scheduler, MosOptions())

    async def ask(question: str) -> list[str]:
        # A session is its user's: what he says there to several of his cubes is one conversation.
        return await asyncio.gather(
            *(mos.chat(question, user_id=user, mem_cube_id=cube, session_id=cube) for user, cube in CHATTING)
        )

    answers, again = await ask(QUESTION), await ask("And again?")
    await idle(scheduler)

    for number, (first, second) in enumerate(zip(answers, again, strict=True)):
        assert secret(number) in first
        assert foreign(first + second, number) == []
    # nor has any question to the model, whatever it was for, the words of two of them
    for asked in model.asked:
        assert sum(word(number) in asked.prompt for number in range(len(TENANTS))) <= 1


async def test_what_one_takes_out_or_deletes_is_his_own(scheduler: AsyncMemScheduler, tmp_path: Path) -> None:
    mos = AsyncMOS.over(scheduler, MosOptions())
    for number, (user, cube) in enumerate(TENANTS):
        everything = await mos.get_all(mem_cube_id=cube, user_id=user)
        assert [each["cube_id"] for each in everything["text_mem"]] == [cube]
        assert sorted(memory.text for memory in everything["text_mem"][0]["memories"]) == sorted(
            [*SAME, secret(number)]
        )
        folder = tmp_path / str(number)
        assert await mos.dump(folder, mem_cube_id=cube, user_id=user) == 3
        written = "".join(file.read_text() for file in folder.iterdir() if file.suffix in (".json", ".jsonl"))
        assert secret(number) in written
        assert foreign(written, number) == []

    for number, (user, cube) in enumerate(TENANTS[: len(TENANTS) // 2]):
        await mos.delete_all(mem_cube_id=cube, user_id=user)
        assert await memories_of(scheduler, user, cube) == []
        assert await texts_of(scheduler, user, cube) == []
        for later, (other_user, other_cube) in enumerate(TENANTS[number + 1 :], number + 1):
            assert secret(later) in {memory.text for memory in await memories_of(scheduler, other_user, other_cube)}
            assert secret(later) in await texts_of(scheduler, other_user, other_cube)


async def test_no_log_line_says_what_anybody_said(scheduler: AsyncMemScheduler) -> None:
    with capture_logs() as lines:
        for number, (user, cube) in enumerate(TENANTS):
            late = said(f"My number is {word(number)}.", 9, user_id=user, mem_cube_id=cube, item_id="late")
            await put(scheduler, late)
        await idle(scheduler)

    output = str(lines)
    assert "llm.extracted" in output
    assert not any(word(number) in output for number in range(len(TENANTS)))
