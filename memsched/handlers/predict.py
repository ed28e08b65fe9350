"""``predict``: somebody is typing. What their question will need is near before they have asked it."""

from __future__ import annotations

from memsched.handlers.mem_update import LONGEST_TALK_CHARACTERS
from memsched.handlers.services import MemoryServices
from memsched.lexicon import stems
from memsched.memory.access.cubes import CubeView
from memsched.memory.access.permissions import Permission
from memsched.memory.model import clamped, to_ms
from memsched.messages import TYPING, ScheduleMessageItem
from memsched.tiers.working_set import Typed
from memsched.worker.context import HandlerContext


async def predict(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Search for what was typed last; what was typed before it is dropped unread.

    The latest of the messages that wait here need not be the latest there is: of those that ``scheduler.predict`` sends
    the cube knows that one. Who may only read a cube changes nothing in it. One search is all that it costs, however
    fast somebody types.
    """
    latest = max(messages, key=lambda message: (message.timestamp, message.item_id))
    typing = bool((latest.info or {}).get(TYPING))
    if typing and await services.states.typed(cube.ref, latest.user_id) != latest.item_id:
        return
    text = latest.content.strip()[:LONGEST_TALK_CHARACTERS]
    if cube.permission.allows(Permission.WRITE) and stems(text):
        at = to_ms(clamped(latest.timestamp))
        typed = Typed(latest.user_id, text, at, typing, latest.session_id or "")
        await services.working_sets.predict(cube.ref, typed, services.settings.predict_slots)
