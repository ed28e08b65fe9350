"""A label of your own, from the message to the result.

    python examples/custom_handler.py

It needs no server: memsched starts one, and keeps its data in ./memsched-data. With
MEMSCHED_REDIS_URL=memory:// everything stays inside this process, with redis://localhost:6379/0 it runs on yours.

A message brings a text with several chapters. The handler counts the words chapter by chapter, and keeps its
progress with the message after each one. In the middle it puts the message off, as for a model that asks for
patience. When it runs again, here or in any other worker, it goes on with the next chapter. At the end it submits
a follow-up, in one step with the acknowledgement: both happen, or neither.
"""

from __future__ import annotations

from memsched import HandlerContext, MemScheduler, ScheduleMessageItem
from memsched.logs import configure_logs

COUNT_LABEL = "COUNT_WORDS"
REPORT_LABEL = "REPORT"


async def count_words(messages: list[ScheduleMessageItem], context: HandlerContext) -> None:
    """Async: runs on the event loop. A second parameter is where the context goes."""
    (message,) = messages
    chapters = message.content.split("\n\n")
    counted: list[int] = context.resume or []
    if counted:
        print(f"{message.user_id}: goes on after chapter {len(counted)}")
    while len(counted) < len(chapters):
        counted.append(len(chapters[len(counted)].split()))
        await context.checkpoint(counted)
        if len(counted) == 2 and len(chapters) > 2:
            print(f"{message.user_id}: put off after chapter {len(counted)}")
            context.retry(message, delay=0.2, error="the model asks for patience")
            return
    context.submit(
        ScheduleMessageItem(
            user_id=message.user_id,
            mem_cube_id=message.mem_cube_id,
            label=REPORT_LABEL,
            content=f"{sum(counted)} words, chapter by chapter {counted}",
        )
    )


def report(messages: list[ScheduleMessageItem]) -> None:
    """Sync: runs in a thread. It gets a list, of one message unless the label asks for more."""
    for message in messages:
        print(f"{message.user_id}: {message.content}")


def main() -> None:
    scheduler = MemScheduler(log_level="error")  # a value given here wins over the environment and .env
    configure_logs(scheduler.settings)  # an application with logs of its own sets up structlog itself
    scheduler.register_handlers({COUNT_LABEL: count_words, REPORT_LABEL: report})
    texts = {"ada": "One two three.\n\nFour five.\n\nSix.", "bob": "Just one chapter."}
    messages = [
        ScheduleMessageItem(user_id=user, mem_cube_id="library", label=COUNT_LABEL, content=text)
        for user, text in texts.items()
    ]
    scheduler.start()
    try:
        for result in scheduler.submit_messages(messages):
            print(f"{result.outcome} {result.item_id}")
        for user in texts:
            scheduler.wait(user_id=user, timeout=30)  # also for the follow-ups
        for message in messages:
            status = scheduler.get_task_status(message)
            print(f"{message.user_id}: {status.state if status else 'not known any more'}")
        scheduler.print_tasks_status()
    finally:
        scheduler.stop()


if __name__ == "__main__":
    main()
