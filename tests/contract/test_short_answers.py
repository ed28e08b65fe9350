"""A short answer is one with its question: told with it, and another one after another question."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.memories import conversation, found, idle, memories_of

from memsched import AsyncMemScheduler
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.turns import turns_of
from memsched.memory.model import Memory

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")

CASES = [
    ("Blue.", "Which colour is the car?", "What colour is your wall?"),
    ("Aisle, please.", "Window or aisle?", "Where do you sit in the theatre?"),
    (
        "\u84dd\u8272\u3002",
        "\u5899\u5237\u4ec0\u4e48\u989c\u8272\uff1f",
        "\u4f60\u7684\u8f66\u662f\u4ec0\u4e48\u989c\u8272\uff1f",
    ),
    ("Montag.", "Wann ist der Elternabend?", "Wann kommt der Maler?"),
    ("S\u00ed.", "\u00bfFumas?", "\u00bfTienes hijos? \U0001f60a"),
    ("No.", "Do you smoke?", "Do you eat meat?"),
]


@pytest.fixture
async def scheduler(quick_schedulers: Callable[..., AsyncMemScheduler]) -> AsyncMemScheduler:
    made = quick_schedulers()
    await made.start()
    return made


async def asked(
    scheduler: AsyncMemScheduler, question: str, answer: str, how: str, minute: float = 0, **fields: str
) -> None:
    """An assistant's question and the answer, in one message or in two."""
    turns = [("assistant", question), ("Alice", answer)]
    for part in [turns] if how == "one message" else [turns[:1], turns[1:]]:
        await scheduler.submit_messages(conversation(*part, minute=minute, **fields))
        await idle(scheduler)


@pytest.mark.parametrize(("how", "session"), [("one message", ""), ("one message", "s"), ("two messages", "s")])
async def test_the_same_answer_to_another_question_is_another_memory(
    scheduler: AsyncMemScheduler, how: str, session: str
) -> None:
    fields = {"session_id": session} if session else {}
    for answer, *questions in CASES:
        again = questions[:1] if how == "one message" else []  # that is a repetition
        for question in [*questions, *again]:
            await asked(scheduler, question, answer, how, **fields)

    memories = {memory.memory_id: memory for memory in await memories_of(scheduler)}
    told = {(memories[each.answers].text, each.text) for each in memories.values() if each.answers}
    assert told == {(question, answer) for answer, *questions in CASES for question in questions}
    assert len(memories) == 4 * len(CASES)


async def test_an_answer_is_told_with_its_question_for_as_long_as_that_is_there(scheduler: AsyncMemScheduler) -> None:
    await asked(scheduler, "Which colour is the car?", "Blue.", "one message")
    await asked(scheduler, "Which colour is the wall?", "Blue.", "one message")

    results = await scheduler.retriever.search("colour of the car", "alice", "home")
    (answer,) = [each for each in results if each.asked == "Which colour is the car?"]
    assert answer.memory == "Blue."
    for query in ("colour of the car", None):
        prompt = await scheduler.prompt("alice", "home", query)
        assert "(asked: Which colour is the car?) Alice: Blue." in prompt.text

    services, ref = await scheduler.memory(), CubeRef("alice", "home")
    (question,) = (await services.store.get(ref, [answer.item.answers])).values()
    await services.deletion.delete(ref, [question], user_id="alice", name="home")

    prompt = await scheduler.prompt("alice", "home", "colour of the car")
    assert "Which colour is the car" not in prompt.text
    assert "Alice: Blue." in prompt.text


async def test_who_says_the_same_after_no_question_says_it_once(scheduler: AsyncMemScheduler) -> None:
    for text in ("Good morning.", "So it is."):
        await scheduler.submit_messages(conversation(("Bob", text), ("Alice", "Blue sky.")))
        await idle(scheduler)

    assert [each.answers for each in await memories_of(scheduler) if each.text == "Blue sky."] == [""]


def of(memories: list[Memory], text: str) -> Memory:
    (memory,) = [each for each in memories if each.text == text]
    return memory


@pytest.mark.parametrize("how", ["one message", "two messages"])
@pytest.mark.parametrize(
    ("question", "first", "later", "superseded"),
    [
        ("Do you eat meat?", "Yes.", "No.", True),
        ("Do you eat meat?", "No, never.", "Yes, I do.", True),
        ("\u4f60\u5403\u8089\u5417\uff1f", "\u662f\u7684\u3002", "\u4e0d\uff0c\u6211\u4e0d\u5403\u3002", True),
        ("\u4f60\u5403\u8089\u5417\uff1f", "\u5403\u3002", "\u4e0d\u5403\u3002", True),
        ("Rauchst du?", "Ja.", "Nein, nicht mehr.", True),
        ("\u00bfFumas?", "No.", "S\u00ed, claro.", True),
        ("Which colour is the car?", "Blue.", "Red.", False),
        ("Do you eat meat?", "Yes.", "Sometimes.", False),
        ("Can I help you?", "Yes.", "No problem.", False),
    ],
)
async def test_another_answer_to_the_same_question_comes_before_the_earlier_one(
    scheduler: AsyncMemScheduler, question: str, first: str, later: str, superseded: bool, how: str
) -> None:
    await asked(scheduler, question, first, how, session_id="s")
    await asked(scheduler, question, later, how, minute=5, session_id="s")

    memories = await memories_of(scheduler)
    old, new, question_id = of(memories, first), of(memories, later), of(memories, question).memory_id
    assert (old.answers, new.answers, len(memories)) == (question_id, question_id, 3)
    assert (old.superseded_by, [*old.may_be_revised_by]) == (
        (new.memory_id, []) if superseded else (None, [new.memory_id])
    )
    best = [each for each in await found(scheduler, question) if each != question]
    assert best[0] == later

    await asked(scheduler, question, first, how, minute=9, session_id="s")
    best = [each for each in await found(scheduler, question) if each != question]
    assert best[0] == first


async def test_answers_of_another_person_or_question_or_the_same_are_left_alone(scheduler: AsyncMemScheduler) -> None:
    for minute, (who, question, answer) in enumerate(
        [
            ("Alice", "Do you eat meat?", "Yes."),
            ("Alice", "Do you smoke?", "No."),
            ("Bob", "Do you eat meat?", "No."),
            ("Alice", "Do you eat meat?", "Yes, of course."),
        ]
    ):
        await scheduler.submit_messages(conversation(("assistant", question), (who, answer), minute=minute))
        await idle(scheduler)

    memories = await memories_of(scheduler)
    assert not any(each.superseded_by or each.may_be_revised_by for each in memories)


async def test_a_question_that_is_asked_anew_after_its_deletion_has_its_answer_again(
    scheduler: AsyncMemScheduler,
) -> None:
    question, services, home = "Which colour is the car?", await scheduler.memory(), CubeRef("alice", "home")
    await asked(scheduler, question, "Blue.", "one message", session_id="s", item_id="first")
    first = of(await memories_of(scheduler), question)
    await services.deletion.delete(home, [first], user_id="alice", name="home")

    await asked(scheduler, question, "Blue.", "one message", session_id="s", minute=5)

    memories = await memories_of(scheduler)
    assert of(memories, "Blue.").answers == of(memories, question).memory_id != first.memory_id
    results = await scheduler.retriever.search("colour of the car", "alice", "home")
    assert {each.memory: each.asked for each in results}["Blue."] == question

    messages = {"first": turns_of(conversation(("assistant", question), ("Alice", "Blue."), session_id="s"))}
    await services.writer.write_turns(home, messages, "alice")  # delivered once more
    assert of(await memories_of(scheduler), "Blue.").answers == of(memories, question).memory_id
