"""``MOS``: users, cubes, add, search, chat, for code without an event loop. Names and shapes as in ``AsyncMOS``."""

from __future__ import annotations

from typing import Any, Self

from memsched.blocking import Blocking, Delegated, blocking, direct, iterating
from memsched.durations import Seconds
from memsched.mos.mos import AsyncMOS
from memsched.mos.options import Config, read_config
from memsched.sync_scheduler import MemScheduler


class MOS(Blocking[AsyncMOS]):
    """``AsyncMOS`` without ``await``: the same methods, run on the event loop of its scheduler (``mem_scheduler``).

    Not to be used from within a handler of its own.
    """

    def __init__(self, config: Config = None, **given: Any) -> None:
        """See AsyncMOS: Settings, the path of a YAML file, a mapping, or nothing; and single values."""
        self.settings, self.options = read_config(config, given)
        self.mem_scheduler = MemScheduler(self.settings)
        super().__init__(AsyncMOS.over(self.mem_scheduler._async, self.options), self.mem_scheduler._thread)

    user_id = Delegated[str]("_async.user_id", "The user of calls that name none.")
    session_id = Delegated[str]("_async.session_id", "The session of calls that name none.")

    register_handlers = direct(AsyncMOS.register_handlers)
    start = blocking(AsyncMOS.start)

    create_user = blocking(AsyncMOS.create_user)
    writable = blocking(AsyncMOS.writable)
    cube_of = blocking(AsyncMOS.cube_of)
    cube_meant = blocking(AsyncMOS.cube_meant)
    list_users = blocking(AsyncMOS.list_users)
    get_user_info = blocking(AsyncMOS.get_user_info)
    create_cube_for_user = blocking(AsyncMOS.create_cube_for_user)
    register_mem_cube = blocking(AsyncMOS.register_mem_cube)
    share_cube_with_user = blocking(AsyncMOS.share_cube_with_user)
    list_invitations = blocking(AsyncMOS.list_invitations)
    accept_cube = blocking(AsyncMOS.accept_cube)
    decline_cube = blocking(AsyncMOS.decline_cube)
    revoke_cube_from_user = blocking(AsyncMOS.revoke_cube_from_user)
    tag_cube = blocking(AsyncMOS.tag_cube)
    cube_tags = blocking(AsyncMOS.cube_tags)

    add = blocking(AsyncMOS.add)
    record = blocking(AsyncMOS.record)
    update = blocking(AsyncMOS.update)
    delete = blocking(AsyncMOS.delete)
    delete_all = blocking(AsyncMOS.delete_all)
    wait = blocking(AsyncMOS.wait)

    search = blocking(AsyncMOS.search)
    get_all = blocking(AsyncMOS.get_all)
    list_memories = blocking(AsyncMOS.list_memories)
    get = blocking(AsyncMOS.get)
    working_set = blocking(AsyncMOS.working_set)
    prompt = blocking(AsyncMOS.prompt)
    preload = blocking(AsyncMOS.preload)
    predict = blocking(AsyncMOS.predict)
    activation = blocking(AsyncMOS.activation)
    themes = blocking(AsyncMOS.themes)
    explain = blocking(AsyncMOS.explain)
    history = blocking(AsyncMOS.history)
    pin = blocking(AsyncMOS.pin)
    unpin = blocking(AsyncMOS.unpin)
    archive = blocking(AsyncMOS.archive)
    restore = blocking(AsyncMOS.restore)

    chat = blocking(AsyncMOS.chat)
    chat_stream = iterating(AsyncMOS.chat_stream)
    clear_messages = direct(AsyncMOS.clear_messages)

    dump = blocking(AsyncMOS.dump)
    load = blocking(AsyncMOS.load)
    get_tasks_status = blocking(AsyncMOS.get_tasks_status)

    def stop(self, grace_seconds: Seconds | None = None) -> None:
        """Let running handlers end and close all connections. What is unfinished waits for the next start."""
        self.mem_scheduler.stop(grace_seconds)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
