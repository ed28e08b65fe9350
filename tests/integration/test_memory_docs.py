"""The page about memory, checked: its tables and numbers against the code, its examples by running them."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.conditions import until
from support.memories import cube_memory, without_working
from support.pages import MEMORY, OPERATIONS, POLICY, blocks, named, section, sources, table

from memsched import (
    AsyncMemScheduler,
    EmbedderMismatch,
    Permission,
    ScheduleMessageItem,
    Settings,
    StoreUnavailable,
    TaskState,
)
from memsched.errors import SettingsError
from memsched.handlers.registration import RULES
from memsched.memory.embedding.factory import embedder_from
from memsched.memory.ingest import splitting
from memsched.memory.model import to_ms
from memsched.memory.search import bm25 as lexical
from memsched.memory.search import constants
from memsched.memory.search.arguments import METHODS, SearchArgs
from memsched.mos.mos import MOST_CUBES_SEARCHED
from memsched.policy import ranking
from memsched.policy.strategy import Candidate, CubeMemory, CubeState
from memsched.policy.talk import ANSWERS_KEPT, TalkEvent
from memsched.policy.value import FEATURES, MODES, LinearMode
from memsched.process import load_policy
from memsched.queue.dead_letters import DeadFilter

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]


def test_the_table_of_labels_has_every_label_that_memsched_handles() -> None:
    shown = [named(cells[0])[0] for cells in table(section(MEMORY, "## Labels"), "label")]

    assert sorted(shown) == sorted(RULES)


def test_the_table_of_search_args_has_every_one_with_its_default() -> None:
    cells = table(section(MEMORY, "## Search"), "`search_args`")
    shown = {name: named(default)[0] for names, default, _ in cells for name in named(names)}

    expected = {
        name: repr(field.get_default(call_default_factory=True)) for name, field in SearchArgs.model_fields.items()
    }
    assert shown == expected


def test_the_table_of_methods_has_every_method_and_every_other_name_of_it() -> None:
    cells = table(section(MEMORY, "## Search"), "`method`")
    shown = {name: named(method)[0] for method, _, others in cells for name in [named(method)[0], *named(others)]}

    assert shown == METHODS


def test_the_table_of_score_parts_has_every_part() -> None:
    shown = {named(cells[0])[0] for cells in table(section(MEMORY, "## Search"), "part")}

    code = sources("memsched/memory/search/hybrid.py", "memsched/memory/search/rerank.py")
    parts = set(re.findall(r'parts\["(\w+)"\]', code)) | set(re.findall(r'raise_to\(.*, "(\w+)"\)', code))
    assert shown == parts | {"around", "speaker", "dense"}


def test_the_numbers_of_search_are_those_of_the_code() -> None:
    said = section(MEMORY, "## Search")

    _, near, further, furthest = constants.FADE
    assert f"{near}, {further} and {furthest}" in said
    _, near, further, _ = constants.FADE_WITHOUT_SPACES
    assert f"times {near} and {further}." in said
    assert constants.REACH == 3
    assert "up to three turns" in said
    assert f"{constants.SPEAKER} if the query names" in said
    assert f"{constants.VALUE} times what the text is worth" in said
    month, day, year = constants.MONTH, constants.DAY, constants.MONTH * constants.ONLY_YEAR
    assert f"{month:g} if it was said in that month, {day:g} more around that day, {year:.1f} for the year" in said
    assert f"times {constants.DENSE_OF_HASHING:g} for hashing" in said
    assert f"times {constants.DENSE_OF_A_MODEL:g} for a model" in said
    assert constants.OWN_KEYWORDS == 1.0
    assert "own words count twice" in said
    assert f"BM25 (k1 = {lexical.K1}, b = {lexical.B})" in said
    assert constants.SUPERSEDED == 0.5
    assert "Minus half the score" in said
    assert f"more than {splitting.MAX_TEXT_CHARACTERS:,} characters" in section(
        MEMORY, "## From an utterance to the working set"
    )


def test_the_table_of_modes_has_their_weights() -> None:
    cells = table(section(POLICY, "## The value of a memory"), "mode")
    shown = {name: (float(prior), tuple(map(float, weights))) for name, prior, *weights in cells}

    assert shown == {mode.name: (mode.prior, mode.weights) for mode in MODES if isinstance(mode, LinearMode)}
    assert tuple(name for name, _ in table(section(POLICY, "## The value of a memory"), "feature")) == FEATURES
    assert "four places" in section(POLICY, "## The value of a memory")
    assert ranking.RESERVED_PLACES == 4
    assert f"last {ANSWERS_KEPT} questions" in section(POLICY, "## The value of a memory")


def test_the_policy_that_the_page_writes_can_be_used() -> None:
    code, _ = blocks(MEMORY, "python", "### A policy of your own")
    scope: dict[str, Any] = {}
    exec(code, scope)
    state, candidates = _cube()

    chosen = scope["LatestFirst"]().choose(state, candidates, 2)

    assert [each.memory.text for each in chosen] == ["relevant", "new"]
    assert all(sum(each.parts.values()) == each.score for each in chosen)


def test_workers_can_be_given_that_policy_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, app = blocks(MEMORY, "python", "### A policy of your own")
    (tmp_path / "my_policy.py").write_text(policy, encoding="utf-8")
    (tmp_path / "app_with_policy.py").write_text(app, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    assert type(load_policy(Settings(app="app_with_policy:scheduler"))).__name__ == "LatestFirst"


async def test_the_example_of_search_finds_what_anna_said_lately(schedulers_at: Any) -> None:
    scope: dict[str, Any] = {}
    for code in blocks(MEMORY, "python", "## Search"):
        exec(code, scope)
    scheduler: AsyncMemScheduler = schedulers_at(f"memory://{uuid.uuid4()}", memory=True)
    await scheduler.start()
    said = [
        {"name": "Anna", "content": "The garden needs a new fence.", "timestamp": datetime.now(UTC).isoformat()},
        {"name": "Anna", "content": "The garden is full of snow.", "timestamp": "2020-01-02T03:04:05Z"},
        {"name": "Ben", "content": "What about the garden?"},
    ]
    await scheduler.submit_messages(
        ScheduleMessageItem(user_id="alice", mem_cube_id="home", label="add", content="", chat_history=said)
    )
    await scheduler.wait(user_id="alice", timeout=30)

    results = await scope["lately"](scheduler)

    assert [each.memory for each in results] == ["The garden needs a new fence."]
    assert sum(results[0].parts.values()) == pytest.approx(results[0].points)
    assert await scope["answer_or_nothing"](scheduler) == [], "nothing fits"


def test_the_table_of_embedders_names_what_the_setting_understands(tmp_path: Any) -> None:
    cells = table(section(MEMORY, "## Embedders"), "`MEMSCHED_EMBEDDING_MODEL`")
    shown = [named(cell[0])[0] if named(cell[0]) else cell[0] for cell in cells]
    assert shown == ["hashing", "openai:MODEL", "fastembed:MODEL", "a folder"]

    with pytest.raises(SettingsError, match=r"memsched\[fastembed\]"):  # which is not installed here
        embedder_from(Settings.load(embedding_model="fastembed:MODEL"))
    for name in shown[:2]:
        assert embedder_from(Settings.load(embedding_model=name)).name.startswith(name.partition(":")[0])
    with pytest.raises(SettingsError, match="MEMSCHED_EMBEDDING_MODEL"):
        embedder_from(Settings.load(embedding_model=str(tmp_path / "nothing-is-here")))


# -- failures, as the page about operations tells them ---------------------------------------------------------------


def _added(user: str, cube: str = "home") -> ScheduleMessageItem:
    return ScheduleMessageItem(user_id=user, mem_cube_id=cube, label="add", content="I moved to Rome.")


async def _put_off(scheduler: AsyncMemScheduler, message: ScheduleMessageItem) -> dict[str, Any]:
    """The log line that says so; status and dead letters are as the page says."""
    with capture_logs() as lines:
        await scheduler.start()
        await scheduler.submit_messages(message)

        async def delayed() -> bool:
            return bool((await scheduler.get_tasks_status())["delayed"])

        await until(delayed, "the message to be put off")
    status, kept = await scheduler.get_tasks_status(), await scheduler.get_task_status(message)
    assert (status["delayed"], status["dead"]) == (1, 0)
    assert kept is not None
    assert kept.state is TaskState.WAITING
    (line,) = [line for line in lines if line["action"] == "memory.put_off"]
    assert line["error"] == kept.error
    return dict(line)


async def test_without_a_vector_store_messages_wait_and_the_working_set_goes_on(schedulers_at: Any) -> None:
    assert "`memory.put_off` with `The vector store at" in section(OPERATIONS, "### The vector store is down")
    scheduler = schedulers_at(f"memory://{uuid.uuid4()}", memory=True, qdrant_url="http://localhost:1", store_retries=1)

    line = await _put_off(scheduler, _added("alice"))

    assert "The vector store at http://localhost:1 does not answer" in line["error"]
    assert line["delay_seconds"] == 2.0
    with pytest.raises(StoreUnavailable):
        await scheduler.retriever.search("Rome", "alice", "home")
    assert await scheduler.working_set("alice", "home") == []


async def test_with_another_embedding_model_messages_wait_for_somebody(
    schedulers_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = section(OPERATIONS, "### The wrong embedding model")
    url = f"memory://{uuid.uuid4()}"
    before = schedulers_at(url, memory=True)
    await before.start()
    await before.submit_messages(_added("alice"))
    await before.wait(timeout=30)
    await before.stop()
    monkeypatch.setattr("memsched.memory.embedding.hashing.HashingEmbedder.name", "another-1")
    scheduler = schedulers_at(url, memory=True)

    line = await _put_off(scheduler, _added("bob"))

    assert "`memory.put_off` with `The collection 'memsched' was made with the embedding model" in told
    assert "The collection 'memsched' was made with the embedding model hashing-1" in line["error"]
    assert f"{line['delay_seconds']:.0f} s at a time" in told
    with pytest.raises(EmbedderMismatch, match="memsched reindex"):
        await scheduler.retriever.search("Rome", "alice", "home")


async def test_who_may_not_write_to_a_cube_leaves_a_dead_letter_with_that_reason(schedulers_at: Any) -> None:
    told = section(OPERATIONS, "### Dead letters that say the cube is forbidden")
    scheduler = schedulers_at(f"memory://{uuid.uuid4()}", memory=True, auto_register_cubes=False)
    cubes = (await scheduler.memory()).cubes
    await cubes.create_user("bob")
    await cubes.register("alice", "home")
    grant = await cubes.share("alice", "home", "bob", Permission.READ, accepted=True)
    await scheduler.start()

    await scheduler.submit_messages([_added("bob", grant.name), _added("bob", "nobody registered it")])
    await scheduler.wait(timeout=30)

    letters = [letter async for letter in (await scheduler.dead_letters()).letters(DeadFilter())]
    assert grant.name == "alice/home", "as the page says under Security"
    assert [letter.reason for letter in letters] == ["rejected", "rejected"]
    said = sorted(letter.error for letter in letters)
    assert "The user has no cube of this name" in said[0] + said[1]
    assert "The user may not do this with this cube" in said[0] + said[1]
    assert "`The user may not do this with this cube` or `The user has no cube of this name`" in " ".join(told.split())
    assert [view.name for view in await cubes.cubes_of("bob")] == ["alice/home"], "no cube of his own was made"


def _cube() -> tuple[CubeState, list[Candidate]]:
    """One question, and three memories: an old one, a new one, and an old one that the question needs."""
    event = TalkEvent(event_id="e", at=to_ms(datetime(2026, 1, 3, tzinfo=UTC)), text="What?")

    def memory(text: str, day: int) -> CubeMemory:
        return cube_memory(text, at=datetime(2026, 1, day, tzinfo=UTC))

    candidates = [
        Candidate(memory("old", 1), 0.3),
        Candidate(memory("new", 2), 0.2),
        Candidate(memory("relevant", 1), 0.1, {}, {event.event_id: 1.0}),
    ]
    return CubeState([each.memory for each in candidates], [event], [], [], event.at), candidates


async def test_messages_wait_for_an_embedding_model_that_cannot_be_had(
    schedulers_at: Any,
) -> None:
    wrong = {"embedding_model": "openai:small", "embedding_base_url": "http://127.0.0.1:9/v1"}

    # given a server that is not there, and a model that is none
    given = ({**wrong, "embedding_timeout_seconds": 5}, {"embedding_model": "nothing"})
    lines = [
        await _put_off(schedulers_at(f"memory://{uuid.uuid4()}", memory=True, **each), _added("anna")) for each in given
    ]

    assert "MEMSCHED_EMBEDDING_BASE_URL" in lines[0]["error"]
    assert "MEMSCHED_EMBEDDING_MODEL" in lines[1]["error"]
    assert [line["delay_seconds"] for line in lines] == [2.0, 30.0]


async def test_the_example_of_sharing_finds_what_is_in_the_cube_of_another(schedulers_at: Any) -> None:
    (code,) = blocks(MEMORY, "python", "## Sharing a cube")
    scope: dict[str, Any] = {}
    exec(code, scope)
    scheduler: AsyncMemScheduler = schedulers_at(f"memory://{uuid.uuid4()}", memory=True)
    await scheduler.start()
    mos = without_working(scheduler)
    await mos.add("The key is under the mat.", mem_cube_id="home", user_id="alice", wait=True)

    (found,) = (await scope["shared"](mos))["text_mem"]

    assert (found["cube_id"], found["owner_id"]) == ("alice/home", "alice")
    assert [each.memory for each in found["memories"]] == ["The key is under the mat."]
    assert str(MOST_CUBES_SEARCHED) in section(MEMORY, "## Sharing a cube")
