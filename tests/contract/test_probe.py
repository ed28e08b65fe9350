import asyncio
from support.conditions import until
from support.messages import message

async def test_stop_iteration(make_scheduler):
    s = make_scheduler(max_errors=0)
    def handle(ms):
        next(iter([]))
    s.register_handlers({"task": handle})
    await s.start()
    await s.submit_messages(message())
    await until(lambda: _dead(s), seconds=3)

async def _dead(s):
    return (await s.get_tasks_status())["dead"]
