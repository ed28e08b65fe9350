"""Work that goes on where it was when its process died.

    python examples/checkpoint_restart.py

plays both acts. Two users have 50 tasks each, of four steps. In the first act a process works on them until it is
killed (SIGKILL: it can neither finish nor say goodbye). In the second act another one goes on: what is done is not
done again, and the tasks that were running go on after the step that they had kept with ``context.checkpoint``. They
are taken over when their worker was silent for 5 s (``tasks_min_idle_ms``).

    python examples/checkpoint_restart.py --run                  # until all is done; Ctrl-C, and start it again
    python examples/checkpoint_restart.py --run --stop-after 30

do it by hand. Tasks that are known already are not submitted twice. It needs no server, and keeps everything in
./memsched-data: delete that folder to begin anew. MEMSCHED_REDIS_URL=redis://... uses a server of yours; memory://
would forget all with the process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from memsched import AsyncMemScheduler, Handler, HandlerContext, ScheduleMessageItem
from memsched.logs import configure_logs

LABEL = "STUDY"
USERS, TASKS_EACH, STEPS, STEP_SECONDS = ("ada", "bob"), 50, 4, 0.015
DIARY = Path("memsched-data") / "checkpoint_restart.txt"
"""One line for each step: what really happened, whoever did it."""


async def study(messages: list[ScheduleMessageItem], context: HandlerContext) -> None:
    (message,) = messages
    done: int = context.resume or 0
    if done:
        print(f"  {message.content} goes on after step {done} of {STEPS}.")
    while done < STEPS:
        await asyncio.sleep(STEP_SECONDS)
        done += 1
        with DIARY.open("a", encoding="utf-8") as diary:
            diary.write(f"{message.item_id} {done}\n")
        await context.checkpoint(done)


def steps_done() -> list[tuple[str, int]]:
    """What the diary says: (item id, step), in order."""
    lines = DIARY.read_text(encoding="utf-8").splitlines() if DIARY.exists() else []
    return [(line.split()[0], int(line.split()[1])) for line in lines]


def finished() -> set[str]:
    return {item_id for item_id, step in steps_done() if step == STEPS}


def tasks() -> list[ScheduleMessageItem]:
    """Always with the same ids: submitted again, they are duplicates."""
    return [
        ScheduleMessageItem(
            item_id=f"{user}-{number}",
            user_id=user,
            mem_cube_id="library",
            label=LABEL,
            content=f"{user}'s book {number}",
        )
        for number in range(1, TASKS_EACH + 1)
        for user in USERS
    ]


async def run(stop_after: int | None) -> None:
    """Work until all is done, or until this process has finished ``stop_after`` tasks, or Ctrl-C."""
    DIARY.parent.mkdir(exist_ok=True)
    scheduler = AsyncMemScheduler(log_level="error", prefix="checkpoint-restart")
    configure_logs(scheduler.settings)
    scheduler.register_handlers({LABEL: Handler(study, ordered=True)})  # each reads one book after another
    scheduler.orchestrator.tasks_min_idle_ms[LABEL] = 5_000
    try:
        results = await scheduler.submit_messages(tasks())
        before = len(finished())
        new = sum(result.outcome == "queued" for result in results)
        print(f"{new} tasks are new, {len(results) - new} were known; {before} are done.", flush=True)
        await scheduler.start()
        while (await scheduler.read_status()).total.backlog:
            if stop_after is not None and len(finished()) - before >= stop_after:
                print(f"Stops itself with {len(finished())} done. Start it again, and it goes on.")
                return
            await asyncio.sleep(0.05)
        print(f"All is done: {len(finished())} tasks.")
    finally:
        await scheduler.stop(grace_seconds=1)


def play_both_acts() -> None:
    if steps_done():
        sys.exit(f"{len(finished())} tasks are done already. Go on with --run, or delete ./memsched-data first.")
    mine = [sys.executable, __file__, "--run"]
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    print("First act: a process begins.")
    with subprocess.Popen(mine, env=environment) as first:
        while first.poll() is None and not in_the_middle():
            time.sleep(0.002)
        first.send_signal(signal.SIGKILL)
    print(f"It is killed in the middle: {len(finished())} of {len(tasks())} tasks are done.\n")

    print("Second act: another process goes on.")
    subprocess.run(mine, env=environment, check=True)
    done, lost = steps_done(), {task.item_id for task in tasks()} - finished()
    print(f"\n{len(finished())} tasks are done, {len(lost)} lost; {len(done) - len(set(done))} steps were done twice.")


def in_the_middle() -> bool:
    """40 tasks are done, and another one is between two steps."""
    steps = steps_done()
    return len(finished()) >= 40 and 1 < steps[-1][1] < STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description="Work that goes on where it was when its process died.")
    parser.add_argument("--run", action="store_true", help="work on the tasks until all are done, or until Ctrl-C")
    parser.add_argument("--stop-after", type=int, metavar="N", help="with --run: stop after N tasks")
    given = parser.parse_args()
    if os.environ.get("MEMSCHED_REDIS_URL", "").startswith("memory://"):
        sys.exit("memory:// forgets all with the process; unset MEMSCHED_REDIS_URL for this example.")
    if given.run or given.stop_after is not None:
        try:
            asyncio.run(run(given.stop_after))
        except KeyboardInterrupt:
            print(f"\nStopped with {len(finished())} done. Start it again, and it goes on.")
    else:
        play_both_acts()


if __name__ == "__main__":
    main()
