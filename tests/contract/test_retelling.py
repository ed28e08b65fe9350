"""A history that comes once more brings back nothing that was deleted, or put away; said anew, it is new."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
from support.memories import idle, memories_of

from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory
from memsched.messages import ADD_TASK_LABEL, PREF_ADD_TASK_LABEL

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]

Turns = list[dict[str, Any]]
Calls = Sequence[Turns]

AUTUMN = 1_764_000_000
JAZZ = "I love jazz music."
FORGET = "Please forget that I love jazz music."


def u(text: str, **given: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **given}


def a(text: str, **given: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **given}


def timed(turns: Turns, start: float = AUTUMN) -> Turns:
    return [{**turn, "timestamp": start + 60 * number} for number, turn in enumerate(turns)]


def ided(turns: Turns, name: str = "m") -> Turns:
    return [{**turn, "id": f"{name}{number}"} for number, turn in enumerate(turns)]


def form(*answers: str) -> Turns:
    asked = ["What did you do yesterday?", "What will you do today?", "What else?"]
    return [turn for question, answer in zip(asked, answers, strict=True) for turn in (a(question), u(answer))]


H: Turns = [
    u("My sister Clara lives in Oslo."),
    a("How nice!"),
    u(JAZZ),
    a("Jazz is great."),
    u("My dog is called Rex."),
    a("Good boy."),
]
NEW: Turns = [u("I bought a red bicycle."), a("Great.")]
TWICE: Turns = [*H, u(JAZZ), a("You said so.")]
FACTS: Turns = [u(f"My neighbour {name} is a cook.") for name in ("Tom", "Ida")]
GROUP: Turns = [{"role": "user", "name": "Ben", "content": "Hello all."}, a("Hello Ben."), *H[2:]]

# By name: the calls before it is deleted, and those after it.
AWAY: dict[str, tuple[Calls, Calls]] = {
    "all": ([H], [H + NEW]),
    "grown": ([H[:2], H[:4], H], [H + NEW]),
    "grown by the user's turns": ([H[:1], H[:3], H[:5]], [H + NEW]),
    "two calls": ([H[:2], H], [H + NEW]),
    "grown, and cut again": ([H[:2], H[:4]], [H[:4]]),
    "one by one": ([[turn] for turn in H], [H + NEW]),
    "a window from itself": ([H], [H[2:] + NEW]),
    "a window in the middle": ([H], [H[1:5]]),
    "a window at the end": ([H], [H[:3]]),
    "the user's turns": ([H], [H[::2] + NEW[:1]]),
    "all, after the user's turns": ([H[::2]], [H + NEW]),
    "said twice": ([TWICE], [TWICE + NEW]),
    "said twice, grown": ([H, TWICE], [TWICE + NEW]),
    "said twice, grown, a window": ([H, TWICE], [TWICE[3:] + NEW]),
    "ids at first": ([ided(H)], [H + NEW]),
    "ids later": ([H], [ided(H + NEW)]),
    "other ids": ([ided(H)], [ided(H + NEW, "x")]),
    "times at first": ([timed(H)], [H + NEW]),
    "times later": ([H], [timed(H + NEW)]),
    "milliseconds at first": ([timed(H, AUTUMN + 0.417)], [timed(H + NEW)]),
    "with an instruction": ([H], [[{"role": "system", "content": "Be kind."}, *H, *NEW]]),
    "in another spelling": ([H], [[{**turn, "content": turn["content"].replace(".", " ! ")} for turn in H]]),
    "after others": ([FACTS + H], [FACTS[1:] + H]),
    "in a group": ([GROUP], [GROUP[1:] + NEW]),
    "again and again": ([H], [H[1:], H + NEW, NEW, H[2:] + NEW]),
    "named": ([H], [[{**turn, "name": "alice"} if turn["role"] == "user" else turn for turn in H]]),
}
BACK: dict[str, tuple[Calls, Calls]] = {
    "alone": ([H], [[u(JAZZ)]]),
    "with another answer": ([H], [[u(JAZZ), a("Nice.")]]),
    "at the end": ([H], [H + NEW + [u(JAZZ)]]),
    "at the end, with an id": ([ided(H)], [[*ided(H), u(JAZZ, id="new")]]),
    "to the same question": ([[a("What do you love?"), u(JAZZ), a("Oh.")]], [[a("What do you love?"), u(JAZZ)]]),
    "at another time": ([timed(H)], [timed(H, AUTUMN - 90_000_000)]),
    "twice, at the end": ([TWICE], [[*TWICE, *NEW, u(JAZZ)]]),
    "after others": ([H], [[*NEW, u(JAZZ), a("Jazz is great.")]]),
    "in a form that is asked again": ([form("the bug", "tests", JAZZ)], [form("tests", "the docs", JAZZ)]),
}


class Cubes:
    """A cube of one scheduler for each case; all are told their next call together."""

    def __init__(self, scheduler: AsyncMemScheduler) -> None:
        self._scheduler = scheduler

    async def tell(self, calls: Mapping[str, Calls], session: str = "", **given: Any) -> None:
        """Each case's calls to its cube, one after the other."""
        for number in range(max(map(len, calls.values()))):
            messages = [
                ScheduleMessageItem(
                    user_id="alice",
                    mem_cube_id=case,
                    content="",
                    chat_history=theirs[number],
                    **{"label": ADD_TASK_LABEL, "session_id": session or None, **given},
                )
                for case, theirs in calls.items()
                if number < len(theirs)
            ]
            await self._scheduler.submit_messages(messages)
            await idle(self._scheduler)

    async def have(self, cases: Iterable[str]) -> list[str]:
        """The cubes that know of it."""
        return [
            case
            for case in cases
            if any("jazz music" in each.text and each.status == "activated" for each in await self.memories(case))
        ]

    async def memories(self, case: str) -> list[Memory]:
        return [each for each in await memories_of(self._scheduler, cube=case) if each.text != FORGET]

    async def take_away(self, how: str, cases: Iterable[str], session: str) -> None:
        if how == "forgotten":
            await self.tell({key: [[u(FORGET)]] for key in cases}, session)
        services = await self._scheduler.memory()
        for case in cases:
            known = [each for each in await self.memories(case) if "jazz music" in each.text]
            assert known, case
            if how == "deleted":
                await services.deletion.delete(CubeRef("alice", case), known, user_id="alice", name=case)
            elif how == "archived":
                for each in known:
                    await self._scheduler.archive("alice", case, each.memory_id)
        assert await self.have(cases) == []

    async def restore(self, case: str) -> None:
        (away,) = [each for each in await self.memories(case) if each.status == "archived"]
        await self._scheduler.restore("alice", case, away.memory_id)


@pytest.fixture
async def cubes(quick_schedulers: Callable[..., AsyncMemScheduler]) -> Cubes:
    made = quick_schedulers()
    await made.start()
    return Cubes(made)


@pytest.mark.parametrize(
    ("how", "session"),
    [
        ("deleted", "talk"),
        ("forgotten", ""),
        pytest.param("deleted", "", marks=pytest.mark.long),
        pytest.param("forgotten", "talk", marks=pytest.mark.long),
    ],
)
async def test_what_was_taken_away_does_not_come_back_with_its_history(cubes: Cubes, how: str, session: str) -> None:
    # Without a session nobody knows that single turns belong together.
    cases = {case: calls for case, calls in AWAY.items() if session or case != "one by one"}
    await cubes.tell({case: before for case, (before, _) in cases.items()}, session)
    await cubes.take_away(how, cases, session)

    await cubes.tell({case: after for case, (_, after) in cases.items()}, session)

    assert await cubes.have(cases) == []


@pytest.mark.parametrize("session", ["talk", ""])
async def test_what_is_said_anew_is_new(cubes: Cubes, session: str) -> None:
    await cubes.tell({case: before for case, (before, _) in BACK.items()}, session)
    await cubes.take_away("deleted", BACK, session)

    await cubes.tell({case: after for case, (_, after) in BACK.items()}, session)

    assert await cubes.have(BACK) == [*BACK]


@pytest.mark.parametrize("how", ["deleted", "forgotten", "archived"])
async def test_whatever_comes_with_it_now(cubes: Cubes, how: str) -> None:
    given: dict[str, dict[str, Any]] = {
        "metadata": {"info": {"metadata": {"app": "x"}}},
        "tags": {"info": {"tags": ["x"]}},
        "name": {"user_name": "Alice L."},
    }
    await cubes.tell({key: [H] for key in given}, "talk")
    await cubes.take_away(how, given, "talk")

    for case, more in given.items():
        await cubes.tell({case: [H + NEW]}, "talk", **more)

    assert await cubes.have(given) == []


@pytest.mark.parametrize("how", ["deleted", "forgotten"])
async def test_nor_as_a_preference(cubes: Cubes, how: str) -> None:
    cases = {case: AWAY[case] for case in ("all", "grown", "grown by the user's turns")}
    await cubes.tell({case: before for case, (before, _) in cases.items()}, label=PREF_ADD_TASK_LABEL)
    await cubes.take_away(how, cases, "")

    await cubes.tell({case: after for case, (_, after) in cases.items()}, label=PREF_ADD_TASK_LABEL)

    assert await cubes.have(cases) == []


async def test_a_request_is_not_followed_once_more_with_its_history(cubes: Cubes) -> None:
    talk = [u(JAZZ), a("Nice."), u(FORGET), a("Done."), u(JAZZ), a("Again!")]
    cases = {"grown": [talk[:end] for end in range(1, 7)], "at once": [talk[:4], talk]}
    await cubes.tell(cases, "talk")
    assert await cubes.have(cases) == [*cases]

    await cubes.tell({key: [[*talk, *NEW]] for key in cases}, "talk")

    assert await cubes.have(cases) == [*cases]


async def test_what_was_restored_stays_when_the_request_is_told_again(cubes: Cubes) -> None:
    talk = [u(JAZZ), a("Nice."), u(FORGET), a("Done.")]
    await cubes.tell({"home": [talk]}, "talk")
    await cubes.restore("home")

    await cubes.tell({"home": [talk + NEW]}, "talk")

    assert await cubes.have(["home"]) == ["home"]
    await cubes.tell({"home": [[u(FORGET)]]}, "talk")
    assert await cubes.have(["home"]) == [], "asked anew, it goes"
