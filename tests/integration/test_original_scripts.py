"""Scripts as the original's users have them, with nothing but their imports changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.llm import FakeLLM, says
from support.messages import message
from support.processes import clean_environment, end, spawn
from support.servers import RedisServer

from memsched import AsyncMemScheduler, MemScheduler, Settings
from memsched.original_names import SchedulerConfig
from memsched.task_status import SubmitResult


def run(script: str, url: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(**{"MEMSCHED_REDIS_URL": url, "MEMSCHED_MEMORY": "false", **settings})
    command = [sys.executable, "-W", "error", "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


READY_MADE = """
from datetime import datetime
from time import sleep
from memsched import ScheduleMessageItem
from memsched.api import handle_scheduler_status, handle_scheduler_wait, mem_scheduler, status_tracker

print("scheduler", type(mem_scheduler).__name__ != "", mem_scheduler.config.top_k, mem_scheduler.use_redis_queue)
print("queue", getattr(mem_scheduler.memos_message_queue, "maxsize", "N/A"))
mem_scheduler.memos_message_queue.debug_mode_on()
mem_scheduler.memos_message_queue.clear()

def handler(messages: list[ScheduleMessageItem]):
    for each in messages:
        print("handled", each.item_id, each.content, flush=True)
        handle_scheduler_status(user_id=each.user_id, status_tracker=status_tracker)

mem_scheduler.register_handlers({"first": handler})
mem_scheduler.register_handlers({"second": handler})
for number in range(4):
    item = ScheduleMessageItem(
        item_id=f"item_{number}", user_id="u", mem_cube_id="c", label=("first", "second")[number % 2],
        content=f"number {number}", timestamp=datetime.now(),
    )
    mem_scheduler.submit_messages([item])
    sleep(0.05)
print("waited", handle_scheduler_wait(
    user_name="u", status_tracker=status_tracker, timeout_seconds=20.0, poll_interval=0.5)["message"])
status = mem_scheduler.get_tasks_status()
mem_scheduler.print_tasks_status(tasks_status=status)
print("running", mem_scheduler._running, mem_scheduler.running)
"""


@pytest.mark.parametrize("end", ["mem_scheduler.stop()", ""])
def test_a_script_with_the_ready_made_scheduler(real_redis: RedisServer, end: str) -> None:
    ended = run(READY_MADE + end, real_redis.url)

    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert "scheduler True 10 True" in lines
    assert "queue 1000000" in lines
    assert sorted(line for line in lines if line.startswith("handled")) == [
        f"handled item_{number} number {number}" for number in range(4)
    ]
    assert "waited idle" in lines
    assert "running True True" in lines
    assert any(line.split()[:1] == ["first"] for line in lines), "the table"
    assert not ended.stderr


def test_the_ready_made_scheduler_needs_nothing_until_it_is_used() -> None:
    script = """
import inspect
from memsched import MemScheduler
from memsched.api import mem_scheduler
import memsched.api
assert isinstance(mem_scheduler, MemScheduler)
inspect.getmembers(memsched.api)
assert not hasattr(mem_scheduler, "__wrapped__") and "submit_messages" in dir(mem_scheduler)
print(mem_scheduler)
try: mem_scheduler.get_tasks_status()
except Exception as error: print(type(error).__name__)
"""
    ended = run(script, "redis://127.0.0.1:1/0", MEMSCHED_CONNECT_TIMEOUT_SECONDS="0.2", MEMSCHED_MEMORY="true")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["<memsched.api.mem_scheduler: not used yet>", "ServerUnreachable"]


def test_a_child_that_uses_the_ready_made_scheduler_runs_handlers_too(real_redis: RedisServer) -> None:
    script = """
import multiprocessing, os
from memsched import ScheduleMessageItem
from memsched.api import mem_scheduler
mem_scheduler.register_handlers({"task": lambda messages: None})
def child():
    print("workers", len(mem_scheduler.get_tasks_status()["workers"]), mem_scheduler.running, flush=True)
process = multiprocessing.get_context("fork").Process(target=child)
process.start(); process.join()
print("left", process.exitcode, len(mem_scheduler.get_tasks_status()["workers"]), flush=True)
"""
    ended = run(script, real_redis.url)

    told = [line for line in ended.stdout.splitlines() if line.startswith(("workers", "left"))]
    assert told == ["workers 2 True", "left 0 1"], ended.stderr


def test_a_worker_process_takes_the_handlers_of_the_ready_made_scheduler(
    real_redis: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "my_script.py").write_text(
        "from memsched.api import mem_scheduler\n"
        "def handle(messages): print('handled', mem_scheduler.running, flush=True)\n"
        "mem_scheduler.register_handlers({'task': handle})\n"
    )
    environment = clean_environment(
        MEMSCHED_REDIS_URL=real_redis.url, MEMSCHED_APP="my_script:mem_scheduler", MEMSCHED_MEMORY="false"
    )
    worker = spawn([sys.executable, "-m", "workers"], log=tmp_path / "log", env=environment)
    try:
        with MemScheduler(redis_url=real_redis.url, memory=False) as scheduler:
            scheduler.submit_messages(message())
            scheduler.wait(timeout=30)
            assert len(scheduler.get_tasks_status()["workers"]) == 1
    finally:
        worker.terminate()
        worker.wait(30)
        end(worker)

    assert "handled False" in (tmp_path / "log").read_text()


REDIS_QUEUE = """
import asyncio
from datetime import datetime
from memsched import QUERY_TASK_LABEL, ScheduleMessageItem
from memsched.api import SchedulerConfigFactory, SchedulerFactory
def say(*words):  # whole lines, from whatever thread
    print(" ".join(map(str, words)) + "\\n", end="", flush=True)
scheduler = SchedulerFactory.from_config(SchedulerConfigFactory.from_yaml_file(yaml_path="general.yaml"))
scheduler.register_handlers({QUERY_TASK_LABEL: lambda messages: say("handled", messages[0].content)})
scheduler.initialize_redis()
scheduler.redis_start_listening(handler=None)
for text in ("one", "two"):
    item = ScheduleMessageItem(
        user_id="u", mem_cube_id="c", label=QUERY_TASK_LABEL, mem_cube=object(), content=text, timestamp=datetime.now()
    )
    added = scheduler.redis_add_message_stream(message=item.to_dict())

    async def awaited():  # in other versions of the original it is a coroutine
        return await added

    say("added", added == asyncio.run(awaited()) == item.item_id)
scheduler.wait(timeout=20)
print("config", scheduler.config.top_k, scheduler.config.thread_pool_max_workers, scheduler.config.context_window_size)
scheduler.redis_stop_listening()
scheduler.redis_close()
"""


def test_a_script_that_makes_its_scheduler_from_a_file_and_names_redis(real_redis: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "general.yaml").write_text(
        "backend: general_scheduler\nconfig:\n  top_k: 7\n  act_mem_update_interval: 30\n  context_window_size: 4\n"
        "  thread_pool_max_workers: 3\n  consume_interval_seconds: 0.01\n  enable_parallel_dispatch: true\n"
    )

    ended = run(REDIS_QUEUE, real_redis.url)

    assert ended.returncode == 0, ended.stderr
    said = sorted(line for line in ended.stdout.splitlines() if "action=" not in line)
    assert said == ["added True", "added True", "config 7 3 4", "handled one", "handled two"]


SUBMIT_FIRST = """
from datetime import datetime
from memsched import MemScheduler, ScheduleMessageItem
scheduler = MemScheduler()
item = ScheduleMessageItem(user_id="u", mem_cube_id="c", label="late", content="x", timestamp=datetime.now())
print(scheduler.memos_message_queue.submit_messages([item])[0].outcome, scheduler._running)
scheduler.register_handlers({"other": print})
scheduler.start()
scheduler.register_handlers({"late": lambda messages: print("handled", len(messages), flush=True)})
scheduler.wait(timeout=20)
print(scheduler.memos_message_queue.qsize(), scheduler.memos_message_queue.empty())
"""


def test_submitting_before_the_start_and_registering_after_it(real_redis: RedisServer) -> None:
    ended = run(SUBMIT_FIRST, real_redis.url)

    assert ended.returncode == 0, ended.stderr
    said = [line for line in ended.stdout.splitlines() if "action=" not in line]
    assert said == ["queued False", "handled 1", "0 True"]


class Counting(MemScheduler):
    """A subclass of a user's."""

    submitted = 0

    def submit_messages(self, messages: Any, *, delay: Any = 0.0) -> list[SubmitResult]:
        self.submitted += 1
        return super().submit_messages(messages, delay=delay)


def test_the_queue_calls_the_methods_of_a_subclass() -> None:
    with Counting(redis_url="memory://subclass", memory=False) as scheduler:
        scheduler.memos_message_queue.submit_messages([message(label="nobody")])

        assert scheduler.submitted == 1
        assert scheduler.memos_message_queue.qsize() == 1


def test_the_config_has_the_originals_names_and_ours() -> None:
    given = {"redis_url": "redis://:hidden@db/0", "concurrency": 1, "query_window": 7}
    config = AsyncMemScheduler(**given).config

    assert (config.thread_pool_max_workers, config.concurrency, config["context_window_size"]) == (1, 1, 7)
    assert config.get("max_internal_message_queue_size") == 1_000_000
    assert config.get("no_such", "default") == "default"
    assert (config.enable_parallel_dispatch, config.use_redis_queue, "top_k" in config) == (False, True, True)
    assert not SchedulerConfig(Settings(redis_url="memory://")).use_redis_queue
    assert "hidden" not in repr(config)
    with pytest.raises(AttributeError, match="no_such"):
        _ = config.no_such


def test_a_status_is_printed_as_it_was_read(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = MemScheduler(redis_url="memory://printed", memory=False)
    scheduler.submit_messages([message(label="nobody"), message(label="nobody")])
    status = scheduler.get_tasks_status()
    scheduler.memos_message_queue.clear()

    scheduler.print_tasks_status(tasks_status=status)
    scheduler.print_tasks_status({"labels": {"other": {"backlog": 7}}})
    scheduler.stop()

    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["nobody", "2", "2"] in [line[:3] for line in printed]
    assert ["other", "7"] in [line[:2] for line in printed]


PET = """
import asyncio, json, time
from memsched import MEM_UPDATE_TASK_LABEL, QUERY_TASK_LABEL, ScheduleMessageItem
from memsched.api import APIADDRequest, ChatPlaygroundRequest, add_handler, chat_stream_playground, mem_scheduler

USER, CUBE = "paula", "pets"
TALK = [
    {"role": "user", "content": "Since Saturday a cat called Minka lives with us."},
    {"role": "assistant", "content": "How nice! Does she like it?"},
    {"role": "user", "content": "Minka sleeps on the piano, and eats nothing but salmon."},
]

def hear(messages: list[ScheduleMessageItem]):
    for message in messages:
        print(f"asked: {message.content}", flush=True)
        mem_scheduler.submit_messages([message.model_copy(update={"label": MEM_UPDATE_TASK_LABEL})])

def look(messages: list[ScheduleMessageItem]):
    for message in messages:
        if not message.content:
            continue
        found = mem_scheduler.retriever.search(
            query=message.content, user_id=message.user_id, mem_cube_id=message.mem_cube_id,
            mem_cube=mem_scheduler.current_mem_cube, top_k=2, method=mem_scheduler.search_method, search_args={},
        )
        for result in found:
            print(f"near: {result.memory[:50]}", flush=True)

async def main():
    added = add_handler.handle_add_memories(
        APIADDRequest(user_id=USER, writable_cube_ids=[CUBE], messages=TALK, async_mode="sync")
    )
    print(added.code, added.data[0]["status"])
    asked = ChatPlaygroundRequest(
        user_id=USER, query="What does Minka eat?", readable_cube_ids=[CUBE], writable_cube_ids=[CUBE]
    )
    answer = ""
    async for event in chat_stream_playground(asked).body_iterator:
        data = json.loads(event.removeprefix("data: "))
        if data["type"] == "text":
            answer += data["data"]
    print(">> AI:", answer)

mem_scheduler.register_handlers({QUERY_TASK_LABEL: hear, MEM_UPDATE_TASK_LABEL: look})
asyncio.run(main())
mem_scheduler.wait(user_id=USER, timeout=30)
mem_scheduler.stop()
"""


@pytest.mark.parametrize("has_model", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_conversation_about_a_pet_through_the_originals_web_server(has_model: bool) -> None:
    with FakeLLM(says("Salmon, and only salmon.")) as model:
        given = {"MEMSCHED_LLM_MODEL": "m", "MEMSCHED_LLM_BASE_URL": model.url} if has_model else {}
        ended = run(PET, f"memory://{uuid4()}", MEMSCHED_MEMORY="true", **given)

    assert ended.returncode == 0, ended.stderr
    said = [line for line in ended.stdout.splitlines() if "action=" not in line]
    assert "200 completed" in said
    assert "asked: What does Minka eat?" in said
    assert "near: Minka sleeps on the piano, and eats nothing but sa" in said
    if has_model:
        assert ">> AI: Salmon, and only salmon." in said
        assert "eats nothing but salmon" in next(each.prompt for each in model.asked if not each.is_reading)
    else:
        assert ">> AI: No language model is configured. What I remember about this:" in said
        assert "- 20" in ended.stdout
