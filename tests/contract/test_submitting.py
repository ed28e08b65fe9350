"""Submitting: each message once, durable before the call returns, refused rather than lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support.conditions import until
from support.messages import LABEL, contents, message, messages

from memsched import AsyncMemScheduler, InvalidMessage, QueueFull, ScheduleMessageItem
from memsched.broker.scripting import as_texts
from memsched.errors import InvalidArgument

MakeScheduler = Callable[..., AsyncMemScheduler]


class Seen:
    """A handler that writes down what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[ScheduleMessageItem]] = []

    async def __call__(self, batch: list[ScheduleMessageItem]) -> None:
        self.batches.append(batch)

    @property
    def items(self) -> list[ScheduleMessageItem]:
        return [item for batch in self.batches for item in batch]


async def outcomes(scheduler: AsyncMemScheduler, *items: ScheduleMessageItem, delay: float = 0) -> list[str]:
    return [result.outcome for result in await scheduler.submit_messages(items, delay=delay)]


async def handled_by(make_scheduler: MakeScheduler, *labels: str, **settings: Any) -> Seen:
    seen = Seen()
    worker = make_scheduler(**settings)
    worker.register_handlers(dict.fromkeys(labels or (LABEL,), seen))
    await worker.start()
    return seen


async def test_a_message_is_kept_until_somebody_handles_it(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler()
    sent = message("hello", info={"n": [1, None, "é"]}, chat_history=[{"role": "user"}], session_id="s", trace_id="t")

    (result,) = await producer.submit_messages(sent)
    waiting = await producer.memos_message_queue.qsize()
    seen = await handled_by(make_scheduler)
    await producer.wait(timeout=30)

    assert (result.item_id, result.outcome, result.accepted) == (sent.item_id, "queued", True)
    assert waiting == 1
    assert seen.items == [sent]
    assert await producer.memos_message_queue.qsize() == 0


async def test_a_batch_has_a_result_per_message_in_order(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler()
    one, two, three = messages(3)
    await producer.submit_messages(two)

    results = await producer.memos_message_queue.submit_messages([one, two, three, one])

    assert [result.item_id for result in results] == [one.item_id, two.item_id, three.item_id, one.item_id]
    assert [result.outcome for result in results] == ["queued", "duplicate", "queued", "duplicate"]
    assert all(result.accepted for result in results)


async def test_a_large_batch_over_several_labels_keeps_every_results_place(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler(max_backlog=1000)
    items = [message(str(number), label=f"label-{number % 3}") for number in range(2500)]

    results = await producer.submit_messages(items)

    assert [result.item_id for result in results] == [item.item_id for item in items]
    assert (await producer.get_tasks_status())["backlog"] == 2500


async def test_nothing_is_submitted_when_one_of_a_batch_is_no_message(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler()

    with pytest.raises(InvalidMessage):
        await producer.submit_messages([message(), message(info={"x": object()})])

    assert await producer.memos_message_queue.qsize() == 0


async def test_what_is_too_large_is_refused_before_it_is_looked_through(
    make_scheduler: MakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memsched.queue.submit.redacted_message", lambda *_: pytest.fail("that takes seconds"))
    scheduler = make_scheduler(max_message_bytes=2000)

    with pytest.raises(InvalidMessage, match="the limit is 2,000"):
        await scheduler.submit_messages([message("small"), message("x" * 2001)])


async def test_an_empty_batch_is_no_mistake(make_scheduler: MakeScheduler) -> None:
    assert await make_scheduler().submit_messages([]) == []


async def test_a_message_is_run_once_however_often_it_is_submitted(make_scheduler: MakeScheduler) -> None:
    producer, sent = make_scheduler(), message()
    seen = await handled_by(make_scheduler)

    before = await outcomes(producer, sent)
    await producer.wait(timeout=30)
    after = await outcomes(producer, sent)
    delayed = await outcomes(producer, sent, delay=60)
    await producer.wait(timeout=30)

    assert before + after + delayed == ["queued", "duplicate", "duplicate"]
    assert len(seen.items) == 1


async def test_the_same_message_from_many_producers_at_once_is_accepted_once(make_scheduler: MakeScheduler) -> None:
    producer, sent = make_scheduler(), message()

    results = await asyncio.gather(*(outcomes(producer, sent) for _ in range(20)))

    assert sorted(outcome for (outcome,) in results) == ["duplicate"] * 19 + ["queued"]


async def test_after_its_status_expired_an_id_may_be_used_again(make_scheduler: MakeScheduler) -> None:
    producer, sent = make_scheduler(task_ttl_seconds=1), message()
    seen = await handled_by(make_scheduler, task_ttl_seconds=1)
    await producer.submit_messages(sent)
    await producer.wait(timeout=30)

    async def accepted_again() -> bool:
        return await outcomes(producer, sent) == ["queued"]

    await until(accepted_again, seconds=5)
    await producer.wait(timeout=30)
    assert len(seen.items) == 2


async def test_the_same_item_id_under_two_labels_is_two_messages(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler()

    assert await outcomes(producer, message(item_id="x", label="a"), message(item_id="x", label="b")) == ["queued"] * 2


async def test_ids_are_the_users_own(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler()
    hers, his = (message(user, user=user, item_id="1") for user in ("alice", "bob"))
    foreign = [message(f"{user}'s", user=user, item_id="2") for user in ("alice", "bob")]

    assert await outcomes(producer, hers, his) == ["queued", "queued"]
    assert await outcomes(producer, hers, his) == ["duplicate", "duplicate"]
    assert await producer.cancel_task("1", user_id="bob")
    assert not await producer.cancel_task("1", user_id="carol")
    with pytest.raises(InvalidArgument, match="ids are the user's own"):
        await producer.cancel_task("1")
    server = await producer.server()
    for item in foreign:
        lane = producer.keys.lane(LABEL, item.user_id, item.mem_cube_id)
        await server.execute("XADD", lane.stream, "*", *item.to_wire())
    seen = await handled_by(make_scheduler)
    await producer.wait(timeout=30)

    assert sorted(contents(seen.items)) == ["alice", "alice's", "bob's"]
    states = {item.content: await producer.get_task_status(item) for item in (hers, his, *foreign)}
    told = {content: status.state.value for content, status in states.items() if status}
    assert told == {"alice": "completed", "bob": "failed", "alice's": "completed", "bob's": "completed"}


async def test_a_delayed_message_waits_until_it_is_due(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler()
    seen = await handled_by(make_scheduler)
    loop = asyncio.get_running_loop()

    begun = loop.time()
    later = await outcomes(producer, message("later"), delay=0.4)
    await producer.submit_messages(message("now"))
    status = await producer.get_tasks_status()
    await producer.wait(timeout=30)

    assert later == ["delayed"]
    assert (status["delayed"], status["remaining"] >= 1) == (1, True)
    assert contents(seen.items) == ["now", "later"]
    assert loop.time() - begun >= 0.4


async def test_the_earliest_of_several_delayed_messages_comes_first(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler()
    seen = await handled_by(make_scheduler)

    await producer.submit_messages(message("third"), delay=0.5)
    await producer.submit_messages(message("first"), delay=0.1)
    await producer.submit_messages(message("second"), delay=0.3)
    await producer.wait(timeout=30)

    assert contents(seen.items) == ["first", "second", "third"]


async def test_a_due_message_runs_within_moments_although_nobody_polls(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler()
    seen = await handled_by(make_scheduler)
    await producer.submit_messages(message("warm up"))
    await producer.wait(timeout=30)
    loop = asyncio.get_running_loop()

    due = loop.time() + 0.2
    await producer.submit_messages(message("late?"), delay=0.2)
    await until(lambda: len(seen.items) == 2)

    assert loop.time() - due < 1.0


async def test_a_full_lane_refuses_with_a_retry_after(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler(max_backlog=3, queue_full_retry_after_seconds=0.25)
    items = messages(5)

    with pytest.raises(QueueFull) as refused:
        await producer.submit_messages(items)

    assert [result.outcome for result in refused.value.results] == ["queued"] * 3 + ["full"] * 2
    assert (refused.value.limit, refused.value.retry_after, refused.value.lane) == (3, 0.25, LABEL)
    assert await producer.memos_message_queue.qsize() == 3


async def test_delayed_messages_fill_a_lane_too(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler(max_backlog=2)
    await producer.submit_messages(messages(2), delay=60)

    with pytest.raises(QueueFull, match="Nothing was accepted"):
        await producer.submit_messages(message())


async def test_a_message_that_is_known_is_no_further_burden_to_a_full_lane(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler(max_backlog=1)
    sent = message()
    await producer.submit_messages(sent)

    assert await outcomes(producer, sent) == ["duplicate"]


async def test_a_full_lane_takes_messages_again_when_it_was_worked_off(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler(max_backlog=1)
    first, second = messages(2)
    await producer.submit_messages(first)
    with pytest.raises(QueueFull):
        await producer.submit_messages(second)

    seen = await handled_by(make_scheduler)
    await producer.wait(timeout=30)
    await producer.submit_messages(second)
    await producer.wait(timeout=30)

    assert contents(seen.items) == ["0", "1"]


async def test_one_full_label_does_not_stop_another(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler(max_backlog=1)
    await producer.submit_messages(message(label="full"))

    assert await outcomes(producer, message(label="other")) == ["queued"]


STRANGE = [
    "a:b",
    "{x}",
    "}{",
    "with space",
    "sl/ash",
    "per%20cent",
    "*",
    "é漢🙂",
    "line\nbreak",
    "nul\0byte",
    "~",
    "MY_TASK",
    "x" * 128,
    "' OR 1=1",
    "-",
    "..",
]


async def test_labels_and_ids_may_hold_any_character(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler()
    seen = await handled_by(make_scheduler, *STRANGE)
    items = [message(text, label=text, user=text, cube=text, item_id=text) for text in STRANGE]

    await producer.submit_messages(items)
    await producer.submit_messages(
        [item.model_copy(update={"item_id": item.item_id + "2"}) for item in items], delay=0.05
    )
    for text in STRANGE:
        await producer.wait(user_id=text, timeout=30)

    found = {(item.label, item.user_id, item.mem_cube_id, item.content) for item in seen.items}
    assert found == {(text, text, text, text) for text in STRANGE}
    assert len(seen.items) == 2 * len(STRANGE)
    assert set((await producer.get_tasks_status())["labels"]) == set(STRANGE)
    states = [await producer.get_task_status(item) for item in items]
    assert all(state is not None and state.state == "completed" for state in states)


async def raw(scheduler: AsyncMemScheduler, *command: Any) -> Any:
    return await (await scheduler.server()).execute(*command)


async def test_a_plain_xadd_of_three_fields_is_a_message(make_scheduler: MakeScheduler) -> None:
    seen = await handled_by(make_scheduler)
    producer = make_scheduler()
    stream = producer.keys.lane(LABEL, "", "").stream

    for user in ("alice", "bob"):
        await raw(producer, "XADD", stream, "*", "user_id", user, "mem_cube_id", "home", "content", f"hi from {user}")
    await until(lambda: len(seen.items) == 2)
    await producer.wait(timeout=30)

    assert sorted(contents(seen.items)) == ["hi from alice", "hi from bob"]
    status = await producer.get_task_status(seen.items[0])
    assert status is not None
    assert status.state == "completed"


async def test_a_plain_xadd_before_any_worker_ran_is_found(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler()
    stream = producer.keys.lane(LABEL, "", "").stream
    await raw(producer, "XADD", stream, "*", "user_id", "alice", "mem_cube_id", "home", "content", "early")

    seen = await handled_by(make_scheduler)

    await until(lambda: contents(seen.items) == ["early"])


async def test_entries_are_readable_in_redis_cli(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler()
    sent = message("hello", info={"n": 1})
    await producer.submit_messages(sent)

    ((_, flat),) = await raw(producer, "XRANGE", producer.keys.lane(LABEL, "", "").stream, "-", "+")

    texts = as_texts(flat)
    fields = dict(zip(texts[::2], texts[1::2], strict=True))
    assert fields.pop("submitted").isdecimal()
    assert fields == {
        "v": "1",
        "item_id": sent.item_id,
        "user_id": "alice",
        "mem_cube_id": "home",
        "content": "hello",
        "timestamp": sent.timestamp.isoformat(),
        "info": '{"n":1}',
    }
