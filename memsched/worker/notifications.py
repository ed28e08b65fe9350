"""Notifications over pub/sub: another process left something that this one would find only by the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from redis.exceptions import RedisError

from memsched.broker.client import NO_ANSWER, Server, reconnect_backoff
from memsched.broker.keys import Keys
from memsched.broker.scripting import as_text
from memsched.logs import get_logger

log = get_logger(__name__)

_REFUSED_CAP_SECONDS = 60.0
_LOOK_UP_SECONDS = 1.0


class Notifications:
    """Passes notifications on (see notify.lua).

    They may be lost, so the receiver looks everywhere after a new subscription.

    Args:
        on_notification: called with what there is (``claimable``, ``due``, ``cancelled``) and the lane's name.
    """

    def __init__(
        self,
        server: Server,
        keys: Keys,
        on_notification: Callable[[str, str], None],
        look_everywhere: Callable[[], None],
    ) -> None:
        self._server = server
        self._keys = keys
        self._on_notification = on_notification
        self._look_everywhere = look_everywhere

    async def run(self) -> None:
        tries = 0
        refused = False
        while True:
            try:
                subscription = self._server.subscription()
                try:
                    await subscription.subscribe(self._keys.wake)
                    times_moved = self._server.times_moved
                    # A server that was demoted keeps its subscribers, and tells them nothing any more.
                    while times_moved == self._server.times_moved:
                        message = await subscription.get_message(timeout=_LOOK_UP_SECONDS)
                        tries, refused = 0, False
                        if message is not None and message.get("type") == "subscribe":
                            # Not when it was asked for: what comes between the two would be missed.
                            self._look_everywhere()
                        if message is not None and message.get("type") == "message":
                            kind, _, lane = as_text(message["data"]).split(" ", 2)
                            self._on_notification(kind, lane)
                finally:
                    await subscription.aclose()  # type: ignore[no-untyped-call]
            except NO_ANSWER as error:
                log.debug("no hints for now", action="hints.gone", error=str(error))
            except RedisError as error:
                # Without a right to the channel all goes on, a little later: this worker looks everywhere now and then.
                if not refused:
                    refused = True
                    log.warning("the server refuses to send hints", action="hints.refused", error=str(error))
            except ValueError as error:
                log.warning("a hint could not be read", action="hints.malformed", error=str(error))
            await asyncio.sleep(
                reconnect_backoff(tries, cap=_REFUSED_CAP_SECONDS) if refused else reconnect_backoff(tries)
            )
            tries += 1
