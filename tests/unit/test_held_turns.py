"""What the queue does not take now is held, and sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from support.conditions import until

from memsched import held_turns
from memsched.errors import InvalidMessage, QueueFull, ServerUnreachable
from memsched.held_turns import HeldTurns


class Queue:
    """Takes what is sent, but for what it shall refuse."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.refuses: Callable[[str], Exception | None] = lambda _: None

    def send(self, what: str) -> Callable[[], Coroutine[Any, Any, None]]:
        return partial(self._take, what)

    async def _take(self, what: str) -> None:
        if (error := self.refuses(what)) is not None:
            raise error
        self.taken.append(what)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_turns, "_FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def queue() -> Queue:
    return Queue()


async def test_of_one_sender_in_order_and_nobody_waits_behind_others(queue: Queue) -> None:
    box = HeldTurns()
    queue.refuses = lambda what: QueueFull("add", 1, 0.1) if what.startswith("ada") else None
    for what in ("ada 1", "bob 1", "ada 2", "bob 2"):
        await box.send(queue.send(what), of=what[:3], size=5)
    held = list(queue.taken)
    queue.refuses = lambda _: None

    await box.send(queue.send("ada 3"), of="ada", size=5)
    await until(lambda: len(queue.taken) == 5)

    assert held == ["bob 1", "bob 2"]
    assert queue.taken[2:] == ["ada 1", "ada 2", "ada 3"]


async def test_what_can_never_be_sent_is_told_and_holds_up_nobody(queue: Queue) -> None:
    box = HeldTurns()
    queue.refuses = lambda _: InvalidMessage("no")
    with pytest.raises(InvalidMessage):
        await box.send(queue.send("ada 1"), of="ada", size=5)
    queue.refuses = lambda _: ServerUnreachable("redis://x", "away")
    await box.send(queue.send("ada 2"), of="ada", size=5)
    await box.send(queue.send("bob 1"), of="bob", size=5)
    queue.refuses = lambda what: InvalidMessage("no") if what == "ada 2" else None

    await until(lambda: queue.taken == ["bob 1"])


@pytest.mark.parametrize(("most", "characters"), [(2, 1000), (1000, 10)])
async def test_when_too_much_waits_the_oldest_is_lost_and_told(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, most: int, characters: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(held_turns, "_MOST", most)
    monkeypatch.setattr(held_turns, "_MOST_CHARACTERS", characters)
    box = HeldTurns()
    queue.refuses = lambda _: QueueFull("add", 1, 0.1)
    for what in ("ada 1", "ada 2", "ada 3"):
        await box.send(queue.send(what), of="ada", size=5)
    queue.refuses = lambda _: None

    await box.aclose()

    assert queue.taken == ["ada 2", "ada 3"]
    assert capsys.readouterr().out.count("turns.lost") == 1


async def test_the_end_of_the_process_waits_for_what_is_held_and_tells_what_is_lost(
    queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    box = HeldTurns()
    queue.refuses = lambda what: QueueFull("add", 1, 0.1) if what == "ada 1" else None
    for what in ("ada 1", "ada 2"):
        await box.send(queue.send(what), of="ada", size=5)

    await box.aclose()

    assert queue.taken == []
    assert "lost=2" in capsys.readouterr().out


def test_the_next_event_loop_goes_on_with_what_is_held(queue: Queue) -> None:
    box, ended = HeldTurns(), asyncio.new_event_loop()
    queue.refuses = lambda _: QueueFull("add", 1, 0.1)
    ended.run_until_complete(box.send(queue.send("ada 1"), of="ada", size=5))
    sending = box._sending
    ended.close()
    queue.refuses = lambda _: None

    async def go_on() -> None:
        box.leave()
        await box.send(queue.send("bob 1"), of="bob", size=5)
        await box.aclose()

    asyncio.run(go_on())

    assert queue.taken == ["bob 1", "ada 1"]
    assert sending is not None
