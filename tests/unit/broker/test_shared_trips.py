"""Who shares a round trip has their own replies, and nobody else's failure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from memsched.broker import shared_trips
from memsched.broker.scripting import Command
from memsched.broker.shared_trips import SharedTrips
from memsched.errors import UnreachableError


class Echo:
    """Answers each command with its words, and notes which came together."""

    def __init__(self) -> None:
        self.sent: list[list[str]] = []
        self.error: BaseException | None = None

    async def run(self, commands: Sequence[Command[Any]]) -> list[Any]:
        self.sent.append([command.args[0] for command in commands])
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return [command.parse(f"{command.args[0]}!") for command in commands]


def said(*words: str) -> list[Command[str]]:
    return [Command((word,), str.upper) for word in words]


def unread(word: str) -> list[Command[str]]:
    def parse(reply: Any) -> str:
        raise ValueError(reply)

    return [Command((word,), parse)]


async def test_who_asks_in_one_step_shares_a_round_trip_and_has_their_own_replies() -> None:
    echo = Echo()
    trips = SharedTrips(echo.run)
    found = await asyncio.gather(trips.run(said("a", "b")), trips.run(said("c")), trips.run([]), trips.run(said("d")))
    assert found == [["A!", "B!"], ["C!"], [], ["D!"]]
    assert echo.sent == [["a", "b", "c", "d"]]
    assert await trips.run(said("e")) == ["E!"]
    assert echo.sent[1:] == [["e"]]


async def test_what_one_cannot_understand_is_no_others_failure() -> None:
    trips = SharedTrips(Echo().run)
    found = await asyncio.gather(trips.run(unread("a")), trips.run(said("b")), return_exceptions=True)
    assert isinstance(found[0], ValueError)
    assert found[1] == ["B!"]


async def test_who_goes_takes_nothing_from_the_others() -> None:
    trips = SharedTrips(Echo().run)
    going, staying = asyncio.create_task(trips.run(said("a"))), asyncio.create_task(trips.run(said("b")))
    await asyncio.sleep(0)
    going.cancel()
    assert await staying == ["B!"]
    with pytest.raises(asyncio.CancelledError):
        await going


async def test_that_there_is_no_answer_is_told_to_all() -> None:
    echo = Echo()
    echo.error = UnreachableError("away")
    trips = SharedTrips(echo.run)
    found = await asyncio.gather(trips.run(said("a")), trips.run(said("b")), return_exceptions=True)
    assert found == [echo.error, echo.error]
    echo.error = None
    assert await trips.run(said("c")) == ["C!"]


@pytest.mark.parametrize("steps", [0, 1])
async def test_who_waits_for_a_trip_that_is_cancelled_is_told_and_the_next_one_goes(steps: int) -> None:
    """As where a program cancels all tasks but its own: also before the trip has begun."""
    trips = SharedTrips(Echo().run)
    waiting = asyncio.create_task(trips.run(said("a")))
    await asyncio.sleep(0)
    for _ in range(steps):
        await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {waiting, asyncio.current_task()}:
        task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(UnreachableError):
            await waiting
        assert await trips.run(said("b")) == ["B!"]


async def test_what_is_too_much_for_one_goes_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_trips, "_MOST_COMMANDS", 3)
    echo = Echo()
    trips = SharedTrips(echo.run)
    found = await asyncio.gather(*(trips.run(said(f"{n}a", f"{n}b")) for n in range(3)), trips.run(said(*"wxyz")))
    assert found == [["0A!", "0B!"], ["1A!", "1B!"], ["2A!", "2B!"], ["W!", "X!", "Y!", "Z!"]]
    assert sorted(map(len, echo.sent)) == [2, 2, 2, 4]
