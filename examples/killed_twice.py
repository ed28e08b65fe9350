"""A hundred slow tasks, a process that is killed twice, and nothing lost.

    python examples/killed_twice.py          # in small: about 10 s; killed when 10 and 50 tasks are done
    python examples/killed_twice.py --full   # each task takes 5 s, the kills come after 14 s and 40 s: about a minute

Two users have 50 tasks each, in one cube each. The handler is an ordinary function: it sleeps, writes a file, and knows
nothing of restarts. The process that runs it is killed with SIGKILL, twice, and started again by hand, with no
supervisor. What was running is taken over 5 s after the kill (``tasks_min_idle_ms``) and runs again; what was done is
not done again.

    python examples/killed_twice.py --run    # the process itself; kill it and start it again as you like

It needs no server, and keeps everything in ./memsched-data: delete that folder to begin anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from memsched import MemScheduler, ScheduleMessageItem
from memsched.logs import configure_logs

LABEL = "SLOW_TASK"
FULL = "--full" in sys.argv
TASK_SECONDS, MIN_IDLE_MS = (5.0, 5_000) if FULL else (0.3, 1_000)
FILES = Path("memsched-data") / "killed_twice"
"""One file for each run of a task, so that what ran twice can be told."""


def handle(messages: list[ScheduleMessageItem]) -> None:
    for message in messages:
        time.sleep(TASK_SECONDS)
        (FILES / f"{message.item_id} {os.getpid()}").write_text(message.content, encoding="utf-8")


def make_scheduler() -> MemScheduler:
    scheduler = MemScheduler(prefix="killed-twice", log_level="error")
    configure_logs(scheduler.settings)
    scheduler.register_handlers({LABEL: handle})
    scheduler.orchestrator.tasks_min_idle_ms[LABEL] = MIN_IDLE_MS
    return scheduler


def run() -> None:
    """Run tasks until all are done."""
    scheduler = make_scheduler()
    scheduler.start()
    scheduler.wait()
    scheduler.stop()


def submit() -> None:
    scheduler = make_scheduler()
    scheduler.submit_messages(
        ScheduleMessageItem(
            item_id=f"{user}-{number}", user_id=user, mem_cube_id=f"{user}'s", label=LABEL, content=f"task {number}"
        )
        for number in range(50)
        for user in ("ada", "bob")
    )
    scheduler.stop()


def done() -> list[str]:
    """The tasks that were done, each as often as it was."""
    return [path.name.partition(" ")[0] for path in FILES.iterdir()]


def main() -> None:
    FILES.mkdir(parents=True, exist_ok=True)
    if done():
        sys.exit("An earlier run left its files: go on with --run, or delete ./memsched-data first.")
    submit()
    begun = time.monotonic()

    def seconds() -> float:
        return time.monotonic() - begun

    mine = [sys.executable, __file__, "--run", *(["--full"] if FULL else [])]
    for after_seconds, after_tasks in ((14, 10), (40, 50)):
        with subprocess.Popen(mine) as process:
            while process.poll() is None and (seconds() < after_seconds if FULL else len(done()) < after_tasks):
                time.sleep(0.01)
            process.kill()
        print(f"Killed after {seconds():.1f} s: {len(set(done()))} of 100 tasks are done.", flush=True)
    subprocess.run(mine, check=True)
    runs = done()
    print(f"All is done after {seconds():.1f} s: {len(set(runs))} tasks, {len(runs) - len(set(runs))} of them twice.")


if __name__ == "__main__":
    run() if "--run" in sys.argv else main()
