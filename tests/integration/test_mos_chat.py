"""Chat with memories: with a model, without one, with one that fails; and what is remembered of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from support.llm import FakeLLM, fails, says, says_json

from memsched import MOS, AsyncMOS
from memsched.errors import CubeForbidden, InvalidMessage
from memsched.lexicon import estimate_tokens
from memsched.memory.embedding.embedder import EmbeddingError
from memsched.memory.store.errors import EmbedderMismatch, StoreRefused, StoreUnavailable
from memsched.mos.chat import NO_MODEL

pytestmark = pytest.mark.timeout(60)

MakeMos = Callable[..., AsyncMOS]
SECONDS = 30.0
LOVES, ALLERGIC = "My dog Max loves peanut butter.", "My sister Ann is allergic to nuts."
QUESTION = "What does Max love?"


@pytest.fixture
def model() -> Iterator[FakeLLM]:
    """It answers a chat, and finds nothing in what it is given to read."""

    def answer(asked: Any) -> Any:
        reads = asked.body.get("response_format")
        return says('{"memories": []}') if reads else says("Max loves peanut butter, but mind Ann.")

    with FakeLLM(answer) as server:
        yield server


@pytest.fixture
async def make_mos() -> AsyncIterator[MakeMos]:
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    url, made = f"memory://{uuid4()}", []

    def make(model: FakeLLM | None = None, **given: Any) -> AsyncMOS:
        if model is not None:
            given |= {"llm_model": "m", "llm_base_url": model.url, "llm_max_retries": 0, "llm_api_key": "k"}
        made.append(AsyncMOS(**{"redis_url": url, "user_id": "alice", "session_id": "s", **given}))
        return made[-1]

    yield make
    for mos in made:
        await mos.stop(grace_seconds=0)


async def all_of(mos: AsyncMOS, *, archived: bool = False) -> list[Any]:
    (cube,) = (await mos.get_all("home", include_archived=archived))["text_mem"]
    return cube["memories"]


async def told(mos: AsyncMOS, *statements: str) -> AsyncMOS:
    for text in statements or (LOVES, ALLERGIC):
        await mos.add(memory_content=text, mem_cube_id="home", wait=True, timeout=SECONDS)
    return mos


async def remembered(mos: AsyncMOS, **of: Any) -> list[str]:
    await mos.wait(timeout=SECONDS)
    found = await mos.get_all(**({"mem_cube_id": "home"} | of))
    return [memory.indexed_text for memory in found["text_mem"][0]["memories"]]


def chats(model: FakeLLM) -> list[Any]:
    return [asked for asked in model.asked if not asked.body.get("response_format")]


# -- without a model ----------------------------------------------------------------------------------------------


async def test_without_a_model_it_tells_what_it_remembers_and_that_no_model_said_it(make_mos: MakeMos) -> None:
    mos = await told(make_mos())

    said = await mos.chat(QUESTION)

    first, *lines = said.splitlines()
    assert first == f"{NO_MODEL} What I remember about this:"
    assert lines[0].endswith(LOVES)
    assert any(line.endswith(ALLERGIC) for line in lines), "the working set is there as well"
    assert "".join([piece async for piece in mos.chat_stream(QUESTION, user_id="bob")]) == (
        f"{NO_MODEL} I remember nothing about this."
    )


async def test_without_a_model_questions_are_told_only_where_nothing_is_stated(make_mos: MakeMos) -> None:
    mos = make_mos()
    asked = ["What shall I cook tonight?", "How old is my dog?"]
    await mos.add(asked, wait=True, timeout=SECONDS)

    assert asked[0] in await mos.chat("What shall I not cook?", remember_in="other")
    assert asked[1] not in await mos.chat(asked[1], remember_in="other")
    await mos.add([ALLERGIC, "I cook on Sundays."], wait=True, timeout=SECONDS)

    for question, told in (("What shall I not cook?", "I cook on Sundays."), ("How old is my dog?", ALLERGIC)):
        said = await mos.chat(question, remember_in="other")
        assert told in said
        assert not [each for each in asked if each in said]
    assert asked[0] in await mos.chat("What did I ask about what to cook?", remember_in="other")


@pytest.mark.parametrize("with_model", [False, True])
async def test_what_is_archived_at_a_request_is_listed_with_how_to_undo_it(
    make_mos: MakeMos, model: FakeLLM, with_model: bool
) -> None:
    mos = await told(make_mos(model if with_model else None))

    answer = await mos.chat("Please forget everything about Max.", mem_cube_id="home")

    (max_,) = [each for each in await all_of(mos, archived=True) if each.text == LOVES]
    assert max_.status == "archived"
    assert LOVES in answer
    assert f"[{max_.memory_id}]" in answer
    assert "restore" in answer
    assert await mos.restore(max_.memory_id, "home")
    await mos.wait(timeout=SECONDS)
    (max_,) = [each for each in await all_of(mos, archived=True) if each.text == LOVES]
    assert max_.status == "activated", "restored before the worker took the turn, it stays"
    both = "".join(
        [each async for each in mos.chat_stream("I am 40. Forget everything about Ann.", mem_cube_id="home")]
    )
    assert both.startswith(f"Archived, as you asked (restore with the id in brackets brings it back):\n- {ALLERGIC} [")
    assert ("Max loves peanut butter, but" if with_model else NO_MODEL) in both
    assert "delete_all" in await mos.chat("Forget everything you know about me.", mem_cube_id="home")
    await mos.wait(timeout=SECONDS)
    texts = {each.text for each in await all_of(mos, archived=True)}
    assert texts - {"Max loves peanut butter, but mind Ann."} == {LOVES, ALLERGIC, "I am 40."}


async def test_what_was_taken_from_what_is_forgotten_goes_with_it_and_no_prompt_has_it_or_the_request(
    make_mos: MakeMos,
) -> None:
    fact = {"kind": "preference", "text": "The user likes jazz in the evening.", "quote": "I like jazz in the evening"}
    fact |= {"source_turns": [0], "about_user": True, "importance": 0.6}

    def answer(asked: Any) -> Any:
        reads = asked.body.get("response_format")
        finds = [fact] if reads and "I like jazz in the evening." in asked.prompt else []
        return says_json({"memories": finds}) if reads else says("Hm.")

    with FakeLLM(answer) as model:
        mos = await told(make_mos(model), "I like jazz in the evening.")
        await mos.wait(timeout=SECONDS)
        assert len(await all_of(mos)) == 2

        told_of = await mos.chat("Please forget that I like jazz in the evening.", mem_cube_id="home")
        await mos.wait(timeout=SECONDS)
        await mos.chat("What do I like in the evening?", mem_cube_id="home")

        assert told_of.count("jazz in the evening. [") == 2
        assert "jazz" not in str(chats(model)[-1].body)
        assert not [each for each in await all_of(mos) if "jazz" in each.text]


async def test_nothing_is_taken_from_what_is_forgotten_while_a_model_reads_it(make_mos: MakeMos) -> None:
    fact = {"kind": "preference", "text": "The user likes jazz in the evening.", "quote": "I like jazz in the evening"}
    fact |= {"source_turns": [0], "about_user": True, "importance": 0.6}
    reads, goes_on = Event(), Event()

    def answer(asked: Any) -> Any:
        if asked.body.get("response_format"):
            reads.set()
            goes_on.wait(SECONDS)
        return says_json({"memories": [fact]})

    with FakeLLM(answer) as model:
        mos = make_mos(model)
        await mos.add(memory_content="I like jazz in the evening.", mem_cube_id="home")
        assert await asyncio.to_thread(reads.wait, SECONDS)

        await mos.chat("Please forget that I like jazz in the evening.", mem_cube_id="home")
        goes_on.set()
        await mos.wait(timeout=SECONDS)

        assert [each.kind for each in await all_of(mos, archived=True)] == ["turn"]


async def test_what_was_merely_found_does_not_count_as_used(make_mos: MakeMos) -> None:
    mos = await told(make_mos())

    await mos.chat(QUESTION)
    assert sorted(await remembered(mos)) == sorted([LOVES, ALLERGIC, QUESTION])

    events = await mos.mem_scheduler.get_web_log_messages()
    assert {event.label for event in events} == {"add", "query", "mem_update"}


# -- with a model -------------------------------------------------------------------------------------------------


async def test_the_model_gets_the_memories_with_their_days_and_both_turns_are_remembered(
    make_mos: MakeMos, model: FakeLLM
) -> None:
    mos = await told(make_mos(model))

    said = await mos.chat(QUESTION, session_id="evening")

    assert said == "Max loves peanut butter, but mind Ann."
    (asked,) = chats(model)
    (loves,) = [each for each in (await mos.get_all())["text_mem"][0]["memories"] if each.text == LOVES]
    assert f"{loves.at:%Y-%m-%d} {LOVES}" in asked.prompt
    assert ALLERGIC in asked.prompt
    assert asked.body["messages"][-1] == {"role": "user", "content": QUESTION}
    assert sorted(await remembered(mos)) == sorted([LOVES, ALLERGIC, QUESTION, f"assistant: {said}"])
    turns = [each for each in (await mos.get_all())["text_mem"][0]["memories"] if each.session_id == "evening"]
    assert [each.turn for each in turns] == [0, 1]


async def test_what_the_answer_used_is_counted(make_mos: MakeMos, model: FakeLLM) -> None:
    mos = await told(make_mos(model))

    await mos.chat(QUESTION)
    await mos.wait(timeout=SECONDS)

    used = {each.text: each.use_count for each in (await mos.get_all())["text_mem"][0]["memories"]}
    assert (used[LOVES], used[QUESTION]) == (1, 0)


async def test_the_next_prompt_repeats_the_turns_of_the_same_session_and_of_no_other(
    make_mos: MakeMos, model: FakeLLM
) -> None:
    mos = await told(make_mos(model, max_turns_window=2))
    for number in range(4):
        await mos.chat(f"Question {number}?")
    await mos.chat("Elsewhere?", session_id="other")
    await mos.chat("Whose?", user_id="bob")
    mos.clear_messages()
    await mos.chat("And now?")

    def turns(number: int) -> list[str]:
        return [each["content"] for each in chats(model)[number].body["messages"] if each["role"] == "user"]

    assert [turns(number) for number in range(7)] == [
        ["Question 0?"],
        ["Question 0?", "Question 1?"],
        ["Question 0?", "Question 1?", "Question 2?"],
        ["Question 1?", "Question 2?", "Question 3?"],
        ["Elsewhere?"],
        ["Whose?"],
        ["And now?"],
    ]


async def test_what_was_said_about_one_cube_is_not_in_the_prompt_about_another(
    make_mos: MakeMos, model: FakeLLM
) -> None:
    mos = await told(make_mos(model))
    await mos.add(memory_content="The fence needs paint.", mem_cube_id="shared", wait=True, timeout=SECONDS)
    await mos.chat("My diagnosis is a secret, what does Max love?", mem_cube_id="home")

    await mos.chat("What needs paint?", mem_cube_id="shared")

    assert "diagnosis" not in chats(model)[-1].prompt


async def test_a_prompt_is_cut_to_what_the_model_can_hold(make_mos: MakeMos, model: FakeLLM) -> None:
    """A long paste is shortened in the middle, the newest turns stay, and what is too long alone is refused."""
    mos = make_mos(model, llm_context_tokens=2048, max_tokens=256)
    paste = "Here it begins. " + "lorem ipsum " * 400 + "Here it ends."
    with pytest.raises(InvalidMessage, match="MEMSCHED_LLM_CONTEXT_TOKENS"):
        await mos.chat(paste * 4)

    await mos.chat(paste)
    for number in range(12):
        await mos.chat(f"Number {number}. " + "dolor sit " * 100)
        assert estimate_tokens(chats(model)[-1].prompt) <= 2048 - 256
    assert "left out here" in chats(model)[1].prompt
    assert "Here it begins." in chats(model)[1].prompt
    last = chats(model)[-1].body["messages"]
    assert [each["role"] for each in last[:2]] == ["system", "user"]
    assert last[-3]["content"].startswith("Number 10.")

    given = [{"role": "user", "content": "x" * 100_000}, {"role": "assistant", "content": "Well."}]
    assert await mos.chat(QUESTION, history=given) == "Max loves peanut butter, but mind Ann."
    assert estimate_tokens(chats(model)[-1].prompt) <= 2048 - 256


async def test_a_history_that_is_given_takes_the_place_of_the_sessions(make_mos: MakeMos, model: FakeLLM) -> None:
    mos = await told(make_mos(model))
    await mos.chat("Before?")

    await mos.chat(QUESTION, history=[{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}])

    assert [each["content"] for each in chats(model)[-1].body["messages"][1:]] == ["Hi.", "Hello.", QUESTION]
    for wrong in ([{"role": "user"}], [{}], [5], {"role": "user"}):
        with pytest.raises(InvalidMessage, match=r"history\[0\]"):
            await mos.chat(QUESTION, history=wrong)
    for no_list in ("text", 5):
        with pytest.raises(InvalidMessage, match="history must be a list of messages"):
            await mos.chat(QUESTION, history=no_list)  # type: ignore[arg-type]
    with pytest.raises(InvalidMessage, match="empty"):
        await mos.chat(" ")
    assert len(chats(model)) == 2


async def test_a_history_may_be_the_list_of_a_front_end(make_mos: MakeMos, model: FakeLLM) -> None:
    mos = await told(make_mos(model))

    await mos.chat(
        QUESTION,
        history=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi."}, {"type": "image_url", "image_url": "u"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "weather"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "{}"},
            {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nHello."},
            {"role": "user", "name": "Bob", "content": "Hi, Ada!"},
            {"role": "user", "content": QUESTION},
        ],
    )

    assert chats(model)[-1].body["messages"][1:] == [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Bob: Hi, Ada!"},
        {"role": "user", "content": QUESTION},
    ]


async def test_the_thinking_of_a_model_is_in_no_answer_memory_or_next_prompt(make_mos: MakeMos, model: FakeLLM) -> None:
    thought = "He is hard to please."
    mos = await told(make_mos(model, remove_think_prefix=True))
    model.always = says(f"{thought}\n</think>\n\nPeanut butter.", pieces=20)
    shows = make_mos(model, remove_think_prefix=False, session_id="shown")

    answers = ["".join([piece async for piece in mos.chat_stream(QUESTION)]), await mos.chat(QUESTION)]
    shown = await shows.chat(QUESTION, mem_cube_id="home")
    await shows.chat(QUESTION, mem_cube_id="home")

    assert answers == ["Peanut butter."] * 2
    assert thought in shown
    assert not any(thought in asked.prompt for asked in chats(model))
    assert not any(thought in text for text in await remembered(mos))


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("http://x", "gone"),
        StoreRefused("no"),
        EmbedderMismatch("memsched", "a", "b"),
        EmbeddingError("no", temporary=True),
    ],
)
async def test_a_chat_goes_on_in_every_outage_alike(
    make_mos: MakeMos, model: FakeLLM, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    mos = await told(make_mos(model))

    async def away(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(mos.mem_scheduler.retriever, "search", away)
    assert await mos.chat(QUESTION) == "Max loves peanut butter, but mind Ann."
    assert ALLERGIC in chats(model)[-1].prompt
    monkeypatch.setattr(mos.mem_scheduler, "memory", away)
    assert await mos.chat(QUESTION) == "Max loves peanut butter, but mind Ann."


async def test_what_the_model_reads_in_a_conversation_is_there_when_the_task_is_done(
    make_mos: MakeMos, model: FakeLLM
) -> None:
    mos = make_mos(model)
    fact = {
        "kind": "fact",
        "text": "Ann is allergic to nuts.",
        "quote": "Ann is allergic to nuts",
        "source_turns": [0],
        "about_user": False,
        "when": None,
        "importance": 0.95,
        "tags": ["health"],
    }
    model.then(says_json({"memories": [fact]}, delay_seconds=0.2))

    await mos.add([ALLERGIC], mem_cube_id="home", wait=True, timeout=SECONDS)

    assert {each.text for each in await mos.working_set("home")} == {ALLERGIC, "Ann is allergic to nuts."}


async def test_what_was_corrected_is_said_to_be_so(make_mos: MakeMos, model: FakeLLM) -> None:
    mos = await told(make_mos(model))
    (memory_id,) = [each.memory_id for each in (await mos.get_all())["text_mem"][0]["memories"] if each.text == LOVES]
    model.then(fails(500))
    await mos.update(memory_id, "My dog Max loves carrots.", wait=True, timeout=SECONDS)

    await mos.chat(QUESTION)

    prompt = chats(model)[-1].prompt
    assert f"(corrected since) {LOVES}" in prompt
    assert prompt.index("My dog Max loves carrots.") < prompt.index(LOVES)


async def test_without_textual_memory_only_the_model_is_asked(make_mos: MakeMos, model: FakeLLM) -> None:
    mos = await told(make_mos(model))
    plain = make_mos(model, enable_textual_memory=False)

    await plain.chat(QUESTION, mem_cube_id="home")

    assert LOVES not in chats(model)[-1].prompt
    assert sorted(await remembered(mos)) == sorted([LOVES, ALLERGIC])


# -- with one that fails ------------------------------------------------------------------------------------------


async def test_a_model_that_fails_is_replaced_by_what_is_remembered_and_counted(
    make_mos: MakeMos, model: FakeLLM
) -> None:
    mos = await told(make_mos(model))
    model.always = fails(500)

    said = await mos.chat(QUESTION)

    assert said.startswith("The language model was of no use (server_error). What I remember about this:")
    assert LOVES in said
    streamed = "".join([piece async for piece in mos.chat_stream(QUESTION)])
    assert streamed.startswith("The language model was of no use (server_error).")
    llm = (await mos.mem_scheduler.memory()).llm
    assert llm is not None
    assert llm.counters.fallbacks["chat", "server_error"] == 2
    assert sorted(await remembered(mos)) == sorted([LOVES, ALLERGIC, QUESTION])


async def test_a_full_queue_does_not_keep_the_answer_back(make_mos: MakeMos, model: FakeLLM) -> None:
    await told(make_mos())
    mos = make_mos(model, enable_mem_scheduler=False, max_backlog=1)
    worker_less = [await mos.chat(f"{QUESTION} {number}", mem_cube_id="home") for number in range(3)]

    assert worker_less == ["Max loves peanut butter, but mind Ann."] * 3


async def test_without_the_store_it_goes_on_with_the_working_set(
    make_mos: MakeMos, model: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    mos = await told(make_mos(model))

    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("http://x", "gone")

    monkeypatch.setattr(mos.mem_scheduler.retriever, "search", away)

    await mos.chat(QUESTION)

    assert ALLERGIC in chats(model)[-1].prompt


# -- in pieces ----------------------------------------------------------------------------------------------------


async def test_a_stream_gives_the_pieces_as_they_come_and_remembers_the_whole(
    make_mos: MakeMos, model: FakeLLM
) -> None:
    mos = await told(make_mos(model))

    pieces = [piece async for piece in mos.chat_stream(QUESTION)]

    assert len(pieces) > 1
    assert "".join(pieces) == "Max loves peanut butter, but mind Ann."
    assert f"assistant: {''.join(pieces)}" in await remembered(mos)


async def test_an_answer_that_breaks_off_says_so_and_is_not_remembered(make_mos: MakeMos, model: FakeLLM) -> None:
    mos = await told(make_mos(model))
    model.then(says("Max loves peanut butter.", break_after=2))

    said = "".join([piece async for piece in mos.chat_stream(QUESTION)])

    assert said.startswith("Max loves")
    assert said.endswith("[The answer breaks off here. The language model was of no use (unreachable).]")
    assert sorted(await remembered(mos)) == sorted([LOVES, ALLERGIC, QUESTION])


async def test_a_stream_that_nobody_reads_on_leaves_the_question_only(make_mos: MakeMos, model: FakeLLM) -> None:
    mos = await told(make_mos(model))

    async with aclosing(mos.chat_stream(QUESTION)) as pieces:
        await anext(pieces)

    assert sorted(await remembered(mos)) == sorted([LOVES, ALLERGIC, QUESTION])


def test_streams_work_without_await(model: FakeLLM) -> None:
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    given = {"llm_model": "m", "llm_base_url": model.url, "llm_api_key": "k", "log_level": "error"}
    with MOS(redis_url=f"memory://{uuid4()}", user_id="alice", **given) as mos:
        mos.add(memory_content=LOVES, mem_cube_id="home", wait=True, timeout=SECONDS)

        assert "".join(mos.chat_stream(QUESTION)) == "Max loves peanut butter, but mind Ann."
        first = mos.chat_stream(QUESTION)
        assert next(first)
        first.close()  # type: ignore[attr-defined]
        mos.wait(timeout=SECONDS)

        texts = [each.text for each in mos.get_all()["text_mem"][0]["memories"]]
    assert texts.count("Max loves peanut butter, but mind Ann.") == 1


# -- other people's cubes -----------------------------------------------------------------------------------------


async def test_a_cube_shared_for_reading_is_asked_and_keeps_nothing(make_mos: MakeMos, model: FakeLLM) -> None:
    mos = await told(make_mos(model))
    await mos.share_cube_with_user("home", "bob")
    await mos.accept_cube("alice/home", "bob")
    before = await remembered(mos)
    working = await mos.working_set("home")

    said = await mos.chat(QUESTION, user_id="bob", mem_cube_id="alice/home")

    assert said == "Max loves peanut butter, but mind Ann."
    assert LOVES in chats(model)[-1].prompt
    assert await remembered(mos) == before
    assert await mos.working_set("home") == working
    assert (await mos.get_all(user_id="bob"))["text_mem"][0]["cube_id"] == "alice/home"
    assert (await mos.get_tasks_status())["dead"] == 0


async def test_what_is_said_about_anothers_cube_may_be_kept_in_ones_own(make_mos: MakeMos, model: FakeLLM) -> None:
    mos = await told(make_mos(model))
    await mos.share_cube_with_user("home", "bob")
    await mos.accept_cube("alice/home", "bob")
    before = await remembered(mos)

    said = await mos.chat(QUESTION, user_id="bob", mem_cube_id="alice/home", remember_in="diary")

    assert await remembered(mos, mem_cube_id="diary", user_id="bob") == [QUESTION, f"assistant: {said}"]
    assert await remembered(mos) == before


async def test_who_may_not_is_refused_before_anybody_is_asked(make_mos: MakeMos, model: FakeLLM) -> None:
    mos = await told(make_mos(model))
    await mos.share_cube_with_user("home", "bob")
    await mos.accept_cube("alice/home", "bob")
    await mos.share_cube_with_user("home", "carol")
    await mos.revoke_cube_from_user("home", "carol")

    for attempt in (
        mos.chat(QUESTION, user_id="bob", mem_cube_id="alice/home", remember_in="alice/home"),
        mos.chat(QUESTION, user_id="carol", mem_cube_id="alice/home"),
        anext(mos.chat_stream(QUESTION, user_id="carol", mem_cube_id="alice/home")),
    ):
        with pytest.raises(CubeForbidden):
            await attempt

    assert chats(model) == []
    assert LOVES not in await mos.chat(QUESTION, user_id="eve", mem_cube_id="home")
    assert LOVES not in chats(model)[-1].prompt
