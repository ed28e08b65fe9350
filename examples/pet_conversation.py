"""A conversation becomes memory, and a question finds what it needs.

    python examples/pet_conversation.py

Sam talks about their dog Max, about peanut butter, and about an allergy. memsched's own handler of the label ``add``
remembers it; no language model is needed. Then Sam asks. The handler of ``query`` (ours, in place of memsched's own)
hands each question on to ``mem_update`` (ours, too), in one step with the acknowledgement. That one looks for what the
cube knows about it, and prints what it found: the next answer would be built from that.

It needs no server: memsched starts what it needs, and keeps its data in ./memsched-data. With
MEMSCHED_REDIS_URL=memory:// everything stays inside this process.
"""

from __future__ import annotations

import asyncio

from memsched import (
    ADD_LABEL,
    MEM_UPDATE_TASK_LABEL,
    QUERY_LABEL,
    AsyncMemScheduler,
    HandlerContext,
    ScheduleMessageItem,
)
from memsched.logs import configure_logs

USER, CUBE = "sam", "pets"
CONVERSATION = [
    {"role": "user", "content": "I have a dog. His name is Max, and he is a golden retriever."},
    {"role": "assistant", "content": "He sounds lovely."},
    {"role": "user", "content": "His favourite treat is peanut butter, Max gets a spoon of it every Sunday."},
    {"role": "assistant", "content": "A good reward for training, too."},
    {"role": "user", "content": "My sister Ann must stay away from it: Ann is allergic to nuts."},
    {"role": "user", "content": "By the way, we are going to the lake next weekend."},
]
QUESTIONS = ["What is the favourite treat of Max?", "May I invite Ann on Sunday? Is she allergic to anything?"]


async def main() -> None:
    scheduler = AsyncMemScheduler(log_level="error")
    configure_logs(scheduler.settings)

    def query(messages: list[ScheduleMessageItem], context: HandlerContext) -> None:
        """Sync handlers run in threads. A follow-up is submitted together with the acknowledgement, or not at all."""
        for message in messages:
            print(f"\n{message.user_id} asks: {message.content}")
            follow_up = {"user_id": USER, "mem_cube_id": CUBE, "label": MEM_UPDATE_TASK_LABEL}
            context.submit(ScheduleMessageItem(content=message.content, info={"asked": True}, **follow_up))

    async def mem_update(messages: list[ScheduleMessageItem]) -> None:
        """Async handlers run on the event loop, where they may search."""
        for message in messages:
            if not (message.info or {}).get("asked"):
                continue  # `add` says that there is something new: nothing to look for
            found = await scheduler.retriever.search(message.content, USER, CUBE, top_k=3)
            for number, result in enumerate(found, 1):
                print(f"  {number}. {result.score:.2f}  {result.memory}")

    scheduler.register_handlers({QUERY_LABEL: query, MEM_UPDATE_TASK_LABEL: mem_update})
    await scheduler.start()
    try:
        print(f"{USER} tells about their dog: {len(CONVERSATION)} utterances.")
        said = ScheduleMessageItem(
            user_id=USER, mem_cube_id=CUBE, label=ADD_LABEL, content="", session_id="sunday", chat_history=CONVERSATION
        )
        await scheduler.submit_messages(said)
        await scheduler.wait(user_id=USER, timeout=60)  # also for the follow-ups
        for text in QUESTIONS:
            asked = ScheduleMessageItem(user_id=USER, mem_cube_id=CUBE, label=QUERY_LABEL, content=text)
            await scheduler.submit_messages(asked)
            await scheduler.wait(user_id=USER, timeout=60)
        print("\nWhat happened to the memories, as the web log has it:")
        for event in await scheduler.get_web_log_messages(limit=10):
            print(f"  {event.label}: {event.log_content}")
    finally:
        await scheduler.stop()


if __name__ == "__main__":
    asyncio.run(main())
