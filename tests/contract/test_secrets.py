"""A secret given on any way in stands nowhere afterwards: on no key, in no memory, in no log line, at no model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from support.llm import Asked, FakeLLM, Reply, says, says_json
from support.memories import idle, left_of, memories_of, put, said
from support.outcome import dead_letters

from memsched import AsyncMemScheduler, AsyncMOS
from memsched.errors import InvalidId, InvalidMessage

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]
TOKEN, WORD, CARD = "ghp_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5", "Zebra#Crossing9", int("4242" * 4)
SECRETS = (TOKEN.lower(), WORD.lower(), str(CARD))
FACT = {
    "kind": "fact",
    "text": f"Alice uses the token {TOKEN}.",
    "quote": "I set up the deploy key",
    "source_turns": [0],
    "about_user": True,
    "importance": 0.6,
}


def answer(asked: Asked) -> Reply:
    if "response_format" in asked.body:
        return says_json({"memories": [FACT], "decisions": [], "corrected": None, "text": f"It is {TOKEN}", "used": []})
    return says(f"Your token is {TOKEN}, and the password is {WORD}.")


@pytest.fixture
async def mos(schedulers_at: Callable[..., AsyncMemScheduler]) -> AsyncIterator[Callable[..., Any]]:
    made: list[AsyncMOS] = []

    async def make(**given: Any) -> AsyncMOS:
        found = AsyncMOS(redis_url=f"memory://{uuid4()}", user_id="alice", **given)
        made.append(found)
        await found.start()
        return found

    yield make
    for each in made:
        await each.stop(grace_seconds=0)


async def everything_said(mos: AsyncMOS) -> None:
    """A secret by every way in that takes a text or a value."""
    scheduler = mos.mem_scheduler
    await mos.create_user("alice", f"Alice {TOKEN}")
    given = {"id": TOKEN, "session_id": TOKEN, "card": CARD, "password": "Zebra#Crossing9", TOKEN: "x", "l": [CARD]}
    turns = [
        {"role": "user", "content": "I set up the deploy key.", "id": TOKEN, "session_id": f"Bearer {TOKEN}"},
        {"role": "user", "name": f"Bob {TOKEN}", "content": f"Mine has the password {WORD}."},
        {"role": "assistant", "content": f"Noted: {CARD}."},
    ]
    await mos.add(turns, mem_cube_id="home", session_id=f"key {TOKEN}", metadata=given, info={"note": TOKEN})
    await scheduler.submit_messages([said(f"I like {TOKEN}", 1, "pref_add"), said(f"Where is {TOKEN}?", 2, "query")])
    await scheduler.submit_messages(said(f"It was {CARD}.", 3, "answer"))
    await idle(scheduler)
    await scheduler.submit_messages(said(f"No, my deploy key is {TOKEN}.", 4, "mem_feedback"))
    await idle(scheduler)
    first = min(await memories_of(scheduler), key=lambda each: each.order)
    await mos.update(first.memory_id, f"I set up the deploy key {TOKEN}.", "home")
    await mos.predict(f"what about {TOKEN}", "home", session_id=TOKEN)
    await mos.chat(f"What is {TOKEN}?", mem_cube_id="home", session_id=TOKEN)
    await mos.search(f"what about {TOKEN}", mem_cube_ids=["home"])
    await idle(scheduler)


async def test_masked_on_every_way_in(mos: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    with FakeLLM(answer) as model:
        found = await mos(llm_model="fake", llm_base_url=model.url, llm_budget_seconds=30.0)
        await everything_said(found)

        assert await left_of(found.mem_scheduler, *SECRETS) == []
        asked = str([each.body for each in model.asked]).lower()
    assert not [each for each in SECRETS if each in asked or each in "".join(capfd.readouterr()).lower()]
    assert await dead_letters(found.mem_scheduler) == []
    texts = [each.text for each in await memories_of(found.mem_scheduler)]
    assert "I set up the deploy key [token]." in texts
    assert "It is [token]" in texts, "what a model makes of a correction"


async def test_sessions_and_turns_that_are_called_by_secrets_stay_apart(mos: Callable[..., Any]) -> None:
    found = await mos()
    for number, session in enumerate((TOKEN, TOKEN[:-1] + "7")):
        await found.add([f"The gate number {number} is green."], mem_cube_id="home", session_id=session, wait=True)

    one, other = await memories_of(found.mem_scheduler)
    assert one.session_id != other.session_id
    asked = {"session_id": TOKEN}
    (hit,) = await found.mem_scheduler.retriever.search("green gate", "alice", "home", search_args=asked)
    assert hit.memory == "The gate number 0 is green."


async def test_names_that_hold_a_secret_are_refused(mos: Callable[..., Any]) -> None:
    found = await mos()
    for call in (
        lambda: found.create_cube_for_user(f"notes {TOKEN}"),
        lambda: found.create_user(TOKEN),
        lambda: found.add(memory_content="x", mem_cube_id=TOKEN),
    ):
        with pytest.raises(InvalidId, match="choose another"):
            await call()
    for name in ("user_id", "mem_cube_id", "item_id"):
        with pytest.raises(InvalidMessage, match=f"{name}.*choose another"):
            await found.mem_scheduler.submit_messages(said("x", **{name: TOKEN}))
    assert await left_of(found.mem_scheduler, *SECRETS) == []


async def test_what_is_dropped_is_said(mos: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    found = await mos(secrets="drop")
    await found.add(memory_content="The gate is green.", mem_cube_id="home", wait=True)
    (gate,) = await memories_of(found.mem_scheduler)

    with pytest.raises(InvalidMessage, match="MEMSCHED_SECRETS=drop"):
        await found.update(gate.memory_id, f"The gate has the code {TOKEN}.", "home")
    with pytest.raises(InvalidMessage, match="MEMSCHED_SECRETS=drop"):
        await found.add(memory_content=TOKEN, mem_cube_id="home")
    await found.add([TOKEN, "The shed is red."], mem_cube_id="home", wait=True)
    by_others = said(f"No, {TOKEN}.", 4, "mem_feedback", info={"memory_id": gate.memory_id})
    await put(found.mem_scheduler, by_others)
    await idle(found.mem_scheduler)

    texts = {each.text for each in await memories_of(found.mem_scheduler)}
    assert texts == {"The gate is green.", "The shed is red."}
    assert "secrets.dropped" in "".join(capfd.readouterr())
    (dead,) = await dead_letters(found.mem_scheduler)
    assert "MEMSCHED_SECRETS=drop" in dead.error


async def test_a_chat_hides_what_answers_its_last_question_and_what_is_said_once_more(mos: Callable[..., Any]) -> None:
    def asks(asked: Asked) -> Reply:
        return says_json({"memories": []}) if "response_format" in asked.body else says("And what is your PIN?")

    with FakeLLM(asks) as model:
        found = await mos(llm_model="fake", llm_base_url=model.url)
        await found.chat("I lost my card.", mem_cube_id="home", session_id="s")
        await found.chat("It's 75319046", mem_cube_id="home", session_id="s")
        before = [{"role": "user", "content": "My password is swordfish."}, {"role": "assistant", "content": "I see."}]
        await found.chat("Is swordfish long enough?", mem_cube_id="home", session_id="t", history=before)
        await idle(found.mem_scheduler)

        assert await left_of(found.mem_scheduler, "75319046", "swordfish") == []
        asked = str([each.body for each in model.asked])
    assert "It's [code]" in asked
    assert "Is [password] long enough?" in asked
    assert "75319046" not in asked
    assert "swordfish" not in asked
