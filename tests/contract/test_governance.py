"""Who may read what, by the access policy that the documentation shows, on a real server: the three cases for which it
was asked.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from support.llm import Asked, FakeLLM, Reply, says
from support.memories import idle, memories_of, said

from memsched import AsyncMemScheduler, AsyncMOS
from memsched.memory.access.reading_as import reading_as
from memsched.mos.options import MosOptions
from tests.contract.test_permission_hook import ways_out

pytestmark = pytest.mark.timeout(120)
POLICY = Path(__file__).parents[2] / "examples" / "access_policy.yaml"
RECORD = "The code of the safe in the cellar with the diagnosis is kumquat."
PLAIN = "The safe in the cellar is painted green."


@pytest.fixture
async def mos(memory_schedulers: Callable[..., AsyncMemScheduler]) -> AsyncIterator[AsyncMOS]:
    """Alice's is the clinic's id."""
    with FakeLLM(tells_all) as model:
        llm = {"llm_model": "gpt", "llm_base_url": model.url, "llm_api_key": "x"}
        made = AsyncMOS.over(memory_schedulers(access_policy=str(POLICY), **llm), MosOptions(user_id="alice"))
        yield made
        await made.stop(grace_seconds=0)


def tells_all(asked: Asked) -> Reply:
    """A model that tells all that it was told."""
    return says(json.dumps(asked.body["messages"]))


async def remember(mos: AsyncMOS, user: str, cube: str, text: str, **given: object) -> None:
    await mos.add(memory_content=text, user_id=user, mem_cube_id=cube, wait=True, **given)  # type: ignore[arg-type]


async def share(mos: AsyncMOS, owner: str, cube: str, *others: str) -> None:
    for other in others:
        await mos.share_cube_with_user(cube, other, "write", user_id=owner)
        await mos.accept_cube(f"{owner}/{cube}", other)


async def found(mos: AsyncMOS, user: str, query: str) -> set[str]:
    """What a search of all the user's cubes finds."""
    asked = await mos.search(query, user)
    return {each.memory for part in asked["text_mem"] for each in part["memories"]}


@pytest.mark.parametrize("whose", ["memory", "cube"])
async def test_medical_records_are_visible_to_doctors_only(
    mos: AsyncMOS, tmp_path: Path, capsys: pytest.CaptureFixture[str], whose: str
) -> None:
    await mos.register_mem_cube("home")
    await remember(mos, "alice", "home", RECORD, tags=["medical"] if whose == "memory" else None)
    if whose == "cube":
        await mos.tag_cube("home", ["Medical"])
    else:
        await remember(mos, "alice", "home", PLAIN)
    await share(mos, "alice", "home", "dr-house", "frida", "bob")
    # What runs in the background for one reader gives another one nothing.
    for label in ("query", "preload", "predict"):
        await mos.mem_scheduler.submit_messages(
            said("What is the code of the safe in the cellar?", 1, label, user_id="dr-house", mem_cube_id="alice/home")
        )
    await idle(mos.mem_scheduler)
    capsys.readouterr()

    for reader, cube, expected in (
        ("dr-house", "alice/home", "kumquat"),
        ("frida", "alice/home", "(a medical record)"),
        ("bob", "alice/home", ""),
        ("alice", "home", ""),
    ):
        ways = await ways_out(mos, reader, cube, tmp_path)
        shown = {way for way, text in ways.items() if expected and expected in text}
        assert not expected or shown >= {"search", "working set", "prompt", "all", "get", "activation block", "chat"}, (
            reader
        )
        if expected != "kumquat":
            assert not {way for way, text in ways.items() if "kumquat" in text or "diagnosis" in text}, reader
        if whose == "memory":
            assert PLAIN in ways["search"]
        assert "kumquat" not in ways["events"], "operators are no doctors"
        assert "kumquat" not in ways["dump"], "what others share is not taken away"
    assert "kumquat" not in capsys.readouterr().out, "no log"


async def test_what_is_sensitive_in_one_domain_is_not_told_in_another(mos: AsyncMOS) -> None:
    salary = "My salary at the bank is 90417 a month."
    await remember(mos, "alice", "life", salary, tags=["domain:finance"])
    await remember(mos, "alice", "life", "My trip to the bank of the river starts in a month.")
    question = "What about the bank this month?"

    with reading_as(["finance"]):
        assert salary in await found(mos, "alice", question)
        assert "90417" in (await mos.prompt(question, "life", "alice")).text
        assert "90417" in await mos.chat(question, "alice", "life", "s")
    await idle(mos.mem_scheduler)
    assert any(
        "90417" in each.text and each.text != salary for each in await memories_of(mos.mem_scheduler, cube="life")
    )
    for elsewhere in ([], ["student"]):
        with reading_as(elsewhere):
            assert "90417" not in repr(await mos.get_all("life", "alice")), "nor what was made of it"
            assert "My trip to the bank of the river starts in a month." in await found(mos, "alice", question)
            assert "90417" not in (await mos.prompt(question, "life", "alice")).text
            assert "90417" not in (await mos.activation("life", "alice")).text
            assert "90417" not in await mos.chat(question, "alice", "life", "s"), "nor what the session said before"


async def test_what_belongs_to_a_role_is_read_in_that_role(mos: AsyncMOS) -> None:
    lessons, project = "I prefer short lessons with examples.", "The project Atlas was stopped after two years."
    await remember(mos, "alice", "life", lessons, info={"role": "student"})
    await mos.register_mem_cube("archive", user_id="acme")
    await remember(mos, "acme", "archive", project)
    await mos.tag_cube("archive", ["role:employee"], "acme")
    await share(mos, "acme", "archive", "alice", "tom@acme.example")

    async def seen(user: str, *cubes: str) -> set[str]:
        near = {each.text for cube in cubes for each in await mos.working_set(cube, user)}
        return near | await found(mos, user, "lessons with examples, and the project Atlas")

    with reading_as(["student"]):
        assert await seen("alice", "life", "acme/archive") == {lessons}
        assert lessons in {each.text for each in await mos.working_set("life", "alice", role="student")}
    with reading_as(["employee"]):
        assert await seen("alice", "life", "acme/archive") == {project}
    assert await seen("alice", "life", "acme/archive") == set()
    assert await seen("tom@acme.example", "acme/archive") == {project}, "by the file"
