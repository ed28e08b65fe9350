"""Which handler runs which label, and under which rules."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from memsched import AsyncMemScheduler, Handler, MemScheduler, Settings, TaskPriorityLevel
from memsched.errors import HandlerNotLoaded, InvalidArgument, SchedulerNotStarted
from memsched.process import load_app
from memsched.worker.handlers import Orchestrator


def handle(batch: object) -> None: ...


def orchestrator(**given: object) -> Orchestrator:
    return Orchestrator(Settings(**given))  # type: ignore[arg-type]


def test_a_bare_function_has_the_settings_rules() -> None:
    rules = orchestrator(min_idle_ms=7000, handler_timeout_seconds=3, label_concurrency=4)
    rules.register({"task": handle})

    assert rules.priority("task") is TaskPriorityLevel.LEVEL_2
    assert rules.min_idle_ms("task") == 7000
    assert rules.timeout_seconds("task") == 3
    assert rules.concurrency("task") == 4
    assert (rules.handlers["task"].batch_size, rules.handlers["task"].ordered) == (1, False)


def test_a_tuple_names_priority_and_min_idle() -> None:
    rules = orchestrator()
    rules.register({"SLOW": (handle, TaskPriorityLevel.LEVEL_3, 5_000)})

    assert rules.priority("SLOW") is TaskPriorityLevel.LEVEL_3
    assert rules.min_idle_ms("SLOW") == 5_000


def test_a_handler_may_have_rules_of_its_own_and_no_limit_of_time() -> None:
    rules = orchestrator()
    rules.register({"task": Handler(handle, min_idle_ms=200, timeout_seconds=0, concurrency=2)})

    assert (rules.min_idle_ms("task"), rules.timeout_seconds("task")) == (200, 0)
    assert rules.concurrency("task") == 2


def test_the_dictionaries_of_the_original_win() -> None:
    scheduler = MemScheduler(redis_url="memory://")
    scheduler.register_handlers({"MY_TASK": (handle, TaskPriorityLevel.LEVEL_2, 60_000)})

    scheduler.orchestrator.tasks_min_idle_ms["MY_TASK"] = 5_000
    scheduler.orchestrator.tasks_priorities["MY_TASK"] = TaskPriorityLevel.LEVEL_1

    assert scheduler.orchestrator.min_idle_ms("MY_TASK") == 5_000
    assert scheduler.orchestrator.priority("MY_TASK") is TaskPriorityLevel.LEVEL_1


def test_the_last_handler_of_a_label_is_the_one() -> None:
    rules = orchestrator()
    rules.register({"task": print})
    rules.register({"task": handle})

    assert rules.handlers["task"].function is handle


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ((handle, TaskPriorityLevel.LEVEL_1), "expected (handle, priority, min_idle_ms)"),
        ("not a function", "cannot be called"),
        (Handler("nor this"), "cannot be called"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_handler_is_refused_by_its_label(entry: object, said: str) -> None:
    with pytest.raises(HandlerNotLoaded) as refused:
        orchestrator().register({"task": entry})  # type: ignore[dict-item]

    assert "task: " in str(refused.value)
    assert said in str(refused.value)


def test_a_label_must_not_be_empty() -> None:
    with pytest.raises(HandlerNotLoaded, match="1 to 128 characters"):
        orchestrator().register({"": handle})


async def test_a_scheduler_without_handlers_does_not_start() -> None:
    scheduler = AsyncMemScheduler(redis_url="memory://nothing", memory=False)

    with pytest.raises(SchedulerNotStarted, match="Register a handler first"):
        await scheduler.start()
    await scheduler.stop()


async def test_a_handler_of_ones_own_takes_the_place_of_memorys() -> None:
    scheduler = AsyncMemScheduler(redis_url=f"memory://{uuid4()}")
    scheduler.register_handlers({"add": handle})
    await scheduler.start()

    assert scheduler.orchestrator.handlers["add"].function is handle
    assert {"query", "answer", "mem_update", "mem_read"} <= scheduler.orchestrator.handlers.keys()
    await scheduler.stop()


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("priority", 5),
        ("priority", "LEVEL_1"),
        ("priority", True),
        ("min_idle_ms", 0),
        ("min_idle_ms", "5000"),
        ("timeout_seconds", -1),
        ("timeout_seconds", math.nan),
        ("timeout_seconds", "60"),
        ("concurrency", 0),
        ("concurrency", 2.5),
        ("batch_size", -1),
        ("batch_size", True),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused_by_its_name_and_nothing_is_registered(rule: str, value: Any) -> None:
    rules = orchestrator()

    with pytest.raises(HandlerNotLoaded, match=f"bad: .*{rule}="):
        rules.register({"good": handle, "bad": Handler(handle, **{rule: value})})

    assert rules.handlers == {}


def test_rules_are_understood_in_the_forms_in_which_people_write_them() -> None:
    rules = orchestrator()
    written: dict[str, Any] = {"priority": 1, "timeout_seconds": timedelta(minutes=1), "concurrency": 2.0}
    rules.register({"a": Handler(handle, **written)})
    rules.register({"b": (handle, 3, 5_000)})  # type: ignore[dict-item]

    assert (rules.priority("a"), rules.timeout_seconds("a"), rules.concurrency("a")) == (1, 60.0, 2)
    assert (rules.priority("b"), rules.min_idle_ms("b")) == (TaskPriorityLevel.LEVEL_3, 5_000)


APP = {"task": handle}
EMPTY: dict[str, object] = {}


class Here:
    app = AsyncMemScheduler(redis_url="memory://")
    number = 3


Here.app.register_handlers({"other": (handle, TaskPriorityLevel.LEVEL_1, 1234)})


def test_an_app_is_a_dictionary_of_handlers() -> None:
    assert list(load_app(Settings(app=f"{__name__}:APP")).handlers) == ["task"]


def test_an_app_may_be_a_scheduler() -> None:
    rules = load_app(Settings(app=f"{__name__}:Here.app"))

    assert rules.min_idle_ms("other") == 1234


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("", "set it to module:attribute"),
        ("module_only", "set it to module:attribute"),
        ("no_such_module:app", "No module named 'no_such_module'"),
        (f"{__name__}:nothing", "no attribute 'nothing'"),
        (f"{__name__}:Here.number", "is a int, not a dictionary of handlers"),
        (f"{__name__}:EMPTY", "has no handlers"),
    ],
)
def test_an_app_that_cannot_be_loaded_says_why(app: str, said: str) -> None:
    with pytest.raises(HandlerNotLoaded) as refused:
        load_app(Settings(app=app, memory=False))

    assert said in str(refused.value)


def test_no_app_is_needed_where_memorys_own_handlers_run() -> None:
    assert load_app(Settings(app="")).handlers == {}


@pytest.mark.parametrize("given", [0, -5, float("nan"), 10**15, True, "5000", None])
def test_a_min_idle_that_would_take_messages_from_live_workers_is_refused_where_it_is_given(given: Any) -> None:
    rules = orchestrator()

    with pytest.raises(InvalidArgument):
        rules.tasks_min_idle_ms["task"] = given
    with pytest.raises(InvalidArgument):
        rules.tasks_min_idle_ms.update(task=given)
    rules.tasks_min_idle_ms["task"] = 5000

    assert rules.tasks_min_idle_ms == {"task": 5000}
