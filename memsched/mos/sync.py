"""``MOS``: users, cubes, add, search, chat, for code without an event loop. Names and shapes as in ``AsyncMOS``."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from memsched.mos.lookup import CubeNotSaid, MOSSearchResult, UnknownMemory
from memsched.mos.mos import AsyncMOS
from memsched.mos.options import Config, MosOptions, read_config
from memsched.mos.tasks import TaskFailed, UnknownTask
from memsched.scheduler import MemScheduler

if TYPE_CHECKING:
    from memsched.memory.access.cubes import Grant
    from memsched.memory.access.permissions import Permission
    from memsched.memory.model import Memory
    from memsched.memory.search.arguments import SearchArgs
    from memsched.memory.transfer.cube_object import GeneralMemCube
    from memsched.tiers.hot_state import WorkingMemory
    from memsched.worker.handlers import HandlerEntry

T = TypeVar("T")


class MOS:
    """``AsyncMOS`` without ``await``: the same methods, run on the event loop of its scheduler (``mem_scheduler``).

    Every method is explained there. Not to be used from within a handler of its own.
    """

    def __init__(self, config: Config = None, **given: Any) -> None:
        """See AsyncMOS: Settings, the path of a YAML file, a mapping, or nothing; and single values."""
        self.settings, self.options = read_config(config, given)
        self.mem_scheduler = MemScheduler(self.settings)
        self._async = AsyncMOS.over(self.mem_scheduler._async, self.options)
        self.user_id, self.session_id = self.options.user_id, self.options.session_id

    # -- its life ------------------------------------------------------------------------------------------------

    def register_handlers(self, handlers: Mapping[str, HandlerEntry]) -> None:
        """Handlers of your own; before the first other call."""
        self._async.register_handlers(handlers)

    def start(self) -> None:
        """Begin to work, if this process shall; other calls do so by themselves."""
        self._call(self._async.start)

    def stop(self, grace_seconds: float | None = None) -> None:
        """Let running handlers end and close all connections. What is unfinished waits for the next start."""
        self.mem_scheduler.stop(grace_seconds)
        self._async.stopped()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- users and cubes -----------------------------------------------------------------------------------------

    def create_user(self, user_id: str | None = None, user_name: str | None = None) -> str:
        return self._call(self._async.create_user, user_id, user_name)

    def list_users(self) -> list[dict[str, str]]:
        return self._call(self._async.list_users)

    def get_user_info(self, user_id: str | None = None) -> dict[str, Any]:
        return self._call(self._async.get_user_info, user_id)

    def create_cube_for_user(
        self, cube_name: str, owner_id: str | None = None, cube_path: str | None = None, cube_id: str | None = None
    ) -> str:
        return self._call(self._async.create_cube_for_user, cube_name, owner_id, cube_path, cube_id)

    def register_mem_cube(
        self,
        mem_cube: GeneralMemCube | str | os.PathLike[str],
        mem_cube_id: str | None = None,
        user_id: str | None = None,
    ) -> str:
        return self._call(self._async.register_mem_cube, mem_cube, mem_cube_id, user_id)

    def share_cube_with_user(
        self, cube_id: str, target_user_id: str, permission: Permission | str = "read", user_id: str | None = None
    ) -> Grant:
        return self._call(self._async.share_cube_with_user, cube_id, target_user_id, permission, user_id)

    def revoke_cube_from_user(self, cube_id: str, target_user_id: str, user_id: str | None = None) -> bool:
        return self._call(self._async.revoke_cube_from_user, cube_id, target_user_id, user_id)

    # -- remembering ---------------------------------------------------------------------------------------------

    def add(
        self,
        messages: Sequence[Any] | str | None = None,
        memory_content: str | None = None,
        mem_cube_id: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        *,
        wait: bool = False,
        timeout: float | None = None,
        user_name: str | None = None,
    ) -> str:
        return self._call(
            lambda: self._async.add(
                messages,
                memory_content,
                mem_cube_id,
                user_id,
                session_id,
                wait=wait,
                timeout=timeout,
                user_name=user_name,
            )
        )

    def update(
        self,
        memory_id: str,
        text: str,
        mem_cube_id: str | None = None,
        user_id: str | None = None,
        *,
        wait: bool = False,
        timeout: float | None = None,
    ) -> str:
        return self._call(lambda: self._async.update(memory_id, text, mem_cube_id, user_id, wait=wait, timeout=timeout))

    def delete(self, memory_id: str, mem_cube_id: str | None = None, user_id: str | None = None) -> None:
        self._call(self._async.delete, memory_id, mem_cube_id, user_id)

    def delete_all(self, mem_cube_id: str, user_id: str | None = None) -> int:
        return self._call(self._async.delete_all, mem_cube_id, user_id)

    def wait(self, task_id: str | None = None, *, user_id: str | None = None, timeout: float | None = None) -> None:
        self._call(lambda: self._async.wait(task_id, user_id=user_id, timeout=timeout))

    # -- finding -------------------------------------------------------------------------------------------------

    def search(
        self,
        query: str,
        user_id: str | None = None,
        install_cube_ids: Sequence[str] | None = None,
        top_k: int | None = None,
        *,
        mem_cube_ids: Sequence[str] | None = None,
        method: str | None = None,
        search_args: SearchArgs | Mapping[str, Any] | None = None,
    ) -> MOSSearchResult:
        return self._call(
            lambda: self._async.search(
                query,
                user_id,
                install_cube_ids,
                top_k,
                mem_cube_ids=mem_cube_ids,
                method=method,
                search_args=search_args,
            )
        )

    def get_all(
        self, mem_cube_id: str | None = None, user_id: str | None = None, *, include_archived: bool = False
    ) -> MOSSearchResult:
        return self._call(lambda: self._async.get_all(mem_cube_id, user_id, include_archived=include_archived))

    def get(self, memory_id: str, mem_cube_id: str | None = None, user_id: str | None = None) -> Memory:
        return self._call(self._async.get, memory_id, mem_cube_id, user_id)

    def working_set(self, mem_cube_id: str | None = None, user_id: str | None = None) -> list[WorkingMemory]:
        return self._call(self._async.working_set, mem_cube_id, user_id)

    # -- chat ----------------------------------------------------------------------------------------------------

    def chat(
        self,
        query: str,
        user_id: str | None = None,
        mem_cube_id: str | None = None,
        session_id: str | None = None,
        history: Sequence[Mapping[str, Any]] | None = None,
        *,
        remember_in: str | None = None,
        top_k: int | None = None,
    ) -> str:
        return self._call(
            lambda: self._async.chat(
                query, user_id, mem_cube_id, session_id, history, remember_in=remember_in, top_k=top_k
            )
        )

    def chat_stream(
        self,
        query: str,
        user_id: str | None = None,
        mem_cube_id: str | None = None,
        session_id: str | None = None,
        history: Sequence[Mapping[str, Any]] | None = None,
        *,
        remember_in: str | None = None,
        top_k: int | None = None,
    ) -> Iterator[str]:
        """As ``chat``, in pieces, which are asked for one by one."""
        pieces = self._async.chat_stream(
            query, user_id, mem_cube_id, session_id, history, remember_in=remember_in, top_k=top_k
        )

        async def next_piece() -> str | None:
            return await anext(pieces, None)

        try:
            while (piece := self._call(next_piece)) is not None:
                yield piece
        finally:
            self._call(pieces.aclose)

    def clear_messages(self, user_id: str | None = None) -> None:
        self._async.clear_messages(user_id)

    # -- dumps and status ----------------------------------------------------------------------------------------

    def dump(self, dump_dir: str | os.PathLike[str], mem_cube_id: str | None = None, user_id: str | None = None) -> int:
        return self._call(self._async.dump, dump_dir, mem_cube_id, user_id)

    def load(self, load_dir: str | os.PathLike[str], mem_cube_id: str | None = None, user_id: str | None = None) -> str:
        return self._call(self._async.load, load_dir, mem_cube_id, user_id)

    def get_tasks_status(self) -> dict[str, Any]:
        return self._call(self._async.get_tasks_status)

    def _call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        return self.mem_scheduler._call(function, *args)


__all__ = [
    "MOS",
    "AsyncMOS",
    "CubeNotSaid",
    "MOSSearchResult",
    "MosOptions",
    "TaskFailed",
    "UnknownMemory",
    "UnknownTask",
]
