"""``AsyncMOS``: users, cubes, add, search, chat, in one object.

The names and shapes are the original system's, where they mean the same here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypedDict
from uuid import UUID, uuid4, uuid5

from pydantic import ValidationError

from memsched.durations import Seconds
from memsched.errors import CubeForbidden, InvalidMessage, UnknownMemory
from memsched.history import HistoryEntry
from memsched.logs import get_logger
from memsched.memory.access.cubes import Cubes, CubeView, Grant, check_id
from memsched.memory.access.permissions import Permission
from memsched.memory.exports.conversation import Conversation
from memsched.memory.exports.given import conversation_given
from memsched.memory.exports.pasted import refuse_export
from memsched.memory.ingest.turns import Reading, reading_of, refuse_role, statement_of, transcript_of, with_time
from memsched.memory.ingest.turns.times import moment_of
from memsched.memory.ingest.turns.wordless import without_files
from memsched.memory.metadata import MetadataValue, metadata_given
from memsched.memory.model import Memory, expect_memory_id, is_memory_id
from memsched.memory.search.arguments import SearchArgs, SearchResult
from memsched.memory.search.pages import ListOrder, MemoryPage, page_of, released_page_of
from memsched.memory.transfer.cube_object import GeneralMemCube
from memsched.memory.transfer.dump_folder import MANIFEST
from memsched.memory_prompt import MemoryPrompt, SearchWhen
from memsched.messages import (
    ADD_TASK_LABEL,
    ANSWER_TASK_LABEL,
    MEM_FEEDBACK_TASK_LABEL,
    MEM_UPDATE_TASK_LABEL,
    ScheduleMessageItem,
    describe_validation_error,
    size_of,
)
from memsched.mos.chat import Chat, Question
from memsched.mos.lookup import FIRST, cube_meant, find_memory
from memsched.mos.options import Config, MosOptions, read_config
from memsched.mos.tasks import Tasks
from memsched.pace import beside_the_loop
from memsched.policy.block import ActivationBlock
from memsched.policy.theme import Theme
from memsched.redaction import SECRETS_DROPPED, Secrets, redacted_message, refuse_secret_id
from memsched.scheduler import AsyncMemScheduler
from memsched.task_status import SubmitResult
from memsched.tiers.explanation import Explanation
from memsched.tiers.hot_state import WorkingMemory
from memsched.worker.handlers import HandlerEntry

if TYPE_CHECKING:
    from memsched.handlers.services import MemoryServices


log = get_logger(__name__)

MOST_CUBES_SEARCHED = 32
"""By one search that names none: each is a search of its own."""


_SIZE_OF_A_TURN = 500
"""Characters, about."""
_ANSWERS = UUID("5f6b9f0a-0c8e-4c0e-9a52-3b5ad2e0f3d7")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What ``record`` submitted.

    Args:
        task_id: of the task, which is also the item id of its ``add``.
        mem_cube_id: the user's name of the cube that remembers it.
        results: of ``add``, and of ``answer`` if there is one.
    """

    task_id: str
    mem_cube_id: str
    results: Sequence[SubmitResult]


class FoundInCube(TypedDict):
    """The memories of one cube. cube_id: the name by which the user knows it; owner_id: whose it is."""

    cube_id: str
    owner_id: str
    memories: list[Any]


class MOSSearchResult(TypedDict):
    """By kind of memory. Activation and parameter memory are not searched: these lists are empty."""

    text_mem: list[FoundInCube]
    act_mem: list[FoundInCube]
    para_mem: list[FoundInCube]


class AsyncMOS:
    """Users and their memories, over a scheduler (``mem_scheduler``) that runs in this process.

    It starts at the first call that needs it, or by ``start``, or as an async context manager. With
    ``enable_mem_scheduler`` false it only submits: then workers must run elsewhere, or nothing is remembered.

    Everywhere: user_id None means the user of the configuration; an empty one is refused (InvalidId). mem_cube_id is
    the user's own name of a cube (one that another shares is called ``<owner>/<cube>``); None means their only cube, or
    ``default`` if they have none. All methods raise CubeForbidden for what the user may not do. There is no
    unregistering: a cube is the user's for good, and ``delete_all`` empties it.
    """

    def __init__(self, config: Config = None, **given: Any) -> None:
        """Settings, or the environment and what is told here over it. Raises SettingsError.

        Args:
            config: Settings, the path of a YAML file of the original's shape (``user_id``, ``chat_model``,
                ``mem_scheduler``, ...), the same as a mapping, or nothing.
            given: single settings, and what MosOptions has.
        """
        settings, options = read_config(config, given)
        self._stand_on(AsyncMemScheduler(settings), options)

    @classmethod
    def over(cls, scheduler: AsyncMemScheduler, options: MosOptions) -> Self:
        """A MOS on a scheduler that is there already."""
        mos = cls.__new__(cls)
        mos._stand_on(scheduler, options)
        return mos

    def _stand_on(self, scheduler: AsyncMemScheduler, options: MosOptions) -> None:
        self.mem_scheduler, self.settings, self.options = scheduler, scheduler.settings, options
        self.user_id, self.session_id = options.user_id, options.session_id
        self._tasks = Tasks(scheduler)
        self._chat = Chat(scheduler, options)

    # -- its life ------------------------------------------------------------------------------------------------

    def register_handlers(self, handlers: Mapping[str, HandlerEntry]) -> None:
        """See AsyncMemScheduler.register_handlers."""
        self.mem_scheduler.register_handlers(handlers)

    async def start(self) -> None:
        """Begin to work, if this process shall; other calls do so by themselves."""
        if self.options.enable_mem_scheduler:
            await self.mem_scheduler.start()

    async def stop(self, grace_seconds: Seconds | None = None) -> None:
        """Let running handlers end and close all connections. What is unfinished waits for the next start."""
        try:
            await self.mem_scheduler.stop(grace_seconds)
        finally:
            await self._chat.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # -- users and cubes -----------------------------------------------------------------------------------------

    async def create_user(self, user_id: str | None = None, user_name: str | None = None) -> str:
        """Make a user known; returns the id, which is made up if there is none. Doing it again changes the name.

        Raises InvalidMessage for the name of a role, such as assistant.
        """
        refuse_role("user_name", user_name or "")
        user = str(uuid4()) if user_id is None else user_id
        await (await self._cubes()).create_user(user, user_name or "")
        return user

    async def list_users(self) -> list[dict[str, str]]:
        """``[{"user_id", "user_name"}]``, by id."""
        return [{"user_id": user.user_id, "user_name": user.name} for user in await (await self._cubes()).list_users()]

    async def get_user_info(self, user_id: str | None = None) -> dict[str, Any]:
        """``{"user_id", "accessible_cubes": [{"cube_id", "owner_id", "permission"}]}``."""
        views = await (await self._cubes()).cubes_of(user := self._user(user_id))
        return {"user_id": user, "accessible_cubes": [_described(view) for view in views]}

    async def create_cube_for_user(
        self, cube_name: str, owner_id: str | None = None, cube_path: str | None = None, cube_id: str | None = None
    ) -> str:
        """Make a cube of a user's own, with the memories of a dump if there is a ``cube_path``; returns its name."""
        name, user = cube_id or cube_name, self._user(owner_id)
        if cube_path:
            return await self._import(_expanded(cube_path), name, user, bring_back=False)
        return (await (await self._cubes()).register(user, name)).mem_cube_id

    async def register_mem_cube(
        self,
        mem_cube_name_or_path: GeneralMemCube | str | os.PathLike[str],
        mem_cube_id: str | None = None,
        user_id: str | None = None,
    ) -> str:
        """Make a cube of the user's own known: a name, a folder with a dump, or a GeneralMemCube; returns its name.

        The memories of the last two are brought into the store, and there once however often it is done, but for those
        that were deleted from it since.
        """
        user = self._user(user_id)
        if isinstance(mem_cube_name_or_path, str) and not _is_folder(mem_cube_name_or_path):
            return (await (await self._cubes()).register(user, mem_cube_id or mem_cube_name_or_path)).mem_cube_id
        if not isinstance(mem_cube_name_or_path, GeneralMemCube):
            folder = _expanded(mem_cube_name_or_path)
            return await self._import(folder, mem_cube_id or await self._name_in(folder), user, bring_back=False)
        name = mem_cube_id or mem_cube_name_or_path.config.cube_id
        return await self._import(mem_cube_name_or_path, name, user, bring_back=False)

    async def share_cube_with_user(
        self, cube_id: str, target_user_id: str, permission: Permission | str = "read", user_id: str | None = None
    ) -> Grant:
        """Invite another user to see a cube of the user's own (``read``), or to write to it (``write``).

        They call it ``<owner>/<cube>`` (``grant.name``), and have it once they accept it (``accept_cube``). Sharing it
        again changes the permission, also of who has accepted it already (``grant.accepted``). Where nobody of that id
        is known yet, ``grant.known`` is False, and the log says so: the invitation waits for them.
        """
        cubes = await self._cubes()
        return await cubes.share(self._user(user_id), cube_id, target_user_id, Permission(permission))

    async def list_invitations(self, user_id: str | None = None) -> list[dict[str, str]]:
        """``[{"cube_id", "owner_id", "permission"}]``: what others share with the user, and they have not answered."""
        views = await (await self._cubes()).invitations(self._user(user_id))
        return [_described(view) for view in views]

    async def accept_cube(self, cube_id: str, user_id: str | None = None) -> str:
        """Take a cube that another user shares; returns its name. From now on it is searched and may be used.

        Raises UnknownInvitation.
        """
        return (await (await self._cubes()).accept(self._user(user_id), cube_id)).name

    async def decline_cube(self, cube_id: str, user_id: str | None = None) -> bool:
        """Refuse a cube that another user shares, or leave it; False if there was none."""
        return await (await self._cubes()).decline(self._user(user_id), cube_id)

    async def revoke_cube_from_user(self, cube_id: str, target_user_id: str, user_id: str | None = None) -> bool:
        """End a share, from the other user's next call on; False if there was none."""
        return await (await self._cubes()).revoke(self._user(user_id), cube_id, target_user_id)

    async def tag_cube(self, cube_id: str, tags: Iterable[str], user_id: str | None = None) -> list[str]:
        """Say what a cube of the user's own is, such as "finance": its tags, in place of those it had. Returns them.

        An access policy says who may read what has them (docs/access.md).
        """
        return [*await (await self._cubes()).tag(self._user(user_id), cube_id, tags)]

    async def cube_tags(self, cube_id: str, user_id: str | None = None) -> list[str]:
        """What the owner of a cube that the user may read says that it is."""
        cubes = await self._cubes()
        return [*await cubes.tags_of(await cubes.resolve(self._user(user_id), cube_id, Permission.READ))]

    # -- remembering ---------------------------------------------------------------------------------------------

    async def add(
        self,
        messages: Iterable[Any] | str | None = None,
        memory_content: str | None = None,
        mem_cube_id: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        *,
        wait: bool = False,
        timeout: Seconds | None = None,
        user_name: str | None = None,
        info: Mapping[str, Any] | None = None,
        metadata: Mapping[str, MetadataValue] | None = None,
        tags: Iterable[str] | None = None,
        doc_path: str | os.PathLike[str] | None = None,
    ) -> str:
        """Have a conversation or one statement remembered.

        Returns the task's id. Raises InvalidMessage for what cannot be read, QueueFull, WaitTimeout.

        Args:
            messages: texts, or messages in any form of docs/conversations.md, such as ``{"role", "content"}``; or one
                of them, or one conversation of an export, or a pasted chat as one text. If one of them cannot be read,
                nothing is remembered.
            wait: until it can be found, and the working set knows of it (see ``wait``).
            user_name: who says "I"; not a role, such as assistant.
            info: what the message shall say beside it: ``role`` and ``task`` bind what is remembered
                (``working_set``).
            metadata: kept with what is remembered, and given back with it: texts, numbers, true and false, and lists of
                them, by name. ``search(filter=...)`` asks for it.
            tags: what it is, such as "medical": who may read it an access policy says (docs/access.md).
            doc_path: refused: files are not read here.
        """
        if doc_path is not None:
            raise InvalidMessage(
                "doc_path: files are not read here; `memsched import FILE` remembers the conversations of an export, "
                "and a text goes in as messages or memory_content"
            )
        message, _ = await self._to_add(
            messages,
            memory_content,
            mem_cube_id,
            user_id,
            session_id,
            user_name=user_name,
            info=info,
            metadata=metadata,
            tags=tags,
        )
        await self._tasks.submit(message)
        if wait:
            await self._tasks.wait(message.item_id, timeout)
        return message.item_id

    async def record(
        self,
        messages: Iterable[Any] | str | None = None,
        memory_content: str | None = None,
        mem_cube_id: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        *,
        used_memory_ids: Iterable[str] = (),
        user_name: str | None = None,
        info: Mapping[str, Any] | None = None,
        metadata: Mapping[str, MetadataValue] | None = None,
        tags: Iterable[str] | None = None,
        item_id: str | None = None,
        trace_id: str | None = None,
    ) -> Recorded:
        """After a model call, at once: have what was said remembered (``add``), and, where it ends with the model's
        answer, have the memories credited that the answer used (label ``answer``).

        Raises as ``add``.

        Args:
            used_memory_ids: of the memories that the prompt held (``prompt.memory_ids``). What is said has their tags
                that an access policy decides by.
            item_id: of the message of ``add``; with the same one again nothing is done twice.
            trace_id: W3C traceparent of what caused it.
        """
        task_id = item_id or str(uuid4())
        used = list(used_memory_ids)
        if told := await self._tags_told(user_id, mem_cube_id, used):
            tags = [*((info or {}).get("tags", ()) if tags is None else tags), *told]
        message, reading = await self._to_add(
            messages,
            memory_content,
            mem_cube_id,
            user_id,
            session_id,
            user_name=user_name,
            info=info,
            metadata=metadata,
            tags=tags,
            item_id=task_id,
            task_id=task_id,
            trace_id=trace_id,
        )
        beside = []
        if reading.turns[-1].by_assistant:
            beside.append(
                ScheduleMessageItem(
                    item_id=str(uuid5(_ANSWERS, message.item_id)),
                    user_id=message.user_id,
                    mem_cube_id=message.mem_cube_id,
                    label=ANSWER_TASK_LABEL,
                    content=reading.turns[-1].text,
                    session_id=message.session_id,
                    task_id=message.task_id,
                    trace_id=trace_id,
                    info={"memory_ids": used},
                )
            )
        results = await self._tasks.submit(message, *beside)
        return Recorded(message.item_id, message.mem_cube_id, results)

    async def _tags_told(self, user_id: str | None, mem_cube_id: str | None, memory_ids: Sequence[str]) -> list[str]:
        """See MemoryServices.tags_told."""
        if not (memory_ids and self.mem_scheduler.release.asks):
            return []
        user, services = self._user(user_id), await self._services()
        ref = await services.reading(user, await self._cube_name(user, mem_cube_id))
        return await services.tags_told(user, ref, [each for each in memory_ids if is_memory_id(each)])

    async def _to_add(
        self,
        messages: Iterable[Any] | str | None,
        memory_content: str | None,
        mem_cube_id: str | None,
        user_id: str | None,
        session_id: str | None,
        *,
        user_name: str | None,
        info: Mapping[str, Any] | None,
        metadata: Mapping[str, MetadataValue] | None,
        tags: Iterable[str] | None,
        **more: Any,
    ) -> tuple[ScheduleMessageItem, Reading]:
        """The message of ``add``, and what is kept of it.

        Args:
            more: other fields of the message. With a ``task_id`` its status tells what became of it.
        """
        if (messages is None) == (memory_content is None):
            raise InvalidMessage("give messages or memory_content, one of both")
        if isinstance(said := messages if memory_content is None else memory_content, str):
            refuse_export(said, "messages" if memory_content is None else "memory_content")
        many = len(messages) if isinstance(messages, list) else 0
        talk, history = await beside_the_loop(many * _SIZE_OF_A_TURN, _talk_in, messages)
        user = self._user(user_id)
        name = await self._cube_name(user, mem_cube_id)
        refuse_secret_id("mem_cube_id", name, self.settings.secrets)
        message = _message(
            user,
            name,
            ADD_TASK_LABEL,
            messages if isinstance(messages, str) and talk is None else memory_content or "",
            session_id=session_id or (talk and talk.key) or self.session_id,
            user_name=user_name,
            chat_history=history if talk else None,
            info=_with_what_is_said(info, metadata, tags),
            **more,
        )
        reading, kept = await beside_the_loop(size_of(message), _read_twice, message, self.settings.secrets)
        if not kept.turns:
            reasons = [*(talk.passed if talk else ()), *(each.why for each in reading.passed)]
            reasons += [SECRETS_DROPPED] if reading.turns else []
            why = ", ".join(dict.fromkeys(reasons))
            raise InvalidMessage(f"there is nothing in it to remember{': ' if why else ''}{why}")
        await (await self._cubes()).resolve(user, name, Permission.WRITE)
        return message, kept

    async def update(
        self,
        memory_id: str,
        text: str,
        mem_cube_id: str | None = None,
        user_id: str | None = None,
        *,
        wait: bool = False,
        timeout: Seconds | None = None,
        item_id: str | None = None,
    ) -> str:
        """Correct a memory: ``text`` is remembered and takes its place; returns the task's id.

        Raises InvalidMessage if there is none, or more than 10,000 characters, or a secret where such texts are dropped
        (MEMSCHED_SECRETS).

        Args:
            item_id: the task's id shall be this one; None: a new one.
        """
        user = self._user(user_id)
        text = statement_of(text, "text")
        found = await find_memory(await self._services(), user, memory_id, mem_cube_id, Permission.WRITE)
        message = _message(
            *(user, found.name, MEM_FEEDBACK_TASK_LABEL, text),
            item_id=item_id or str(uuid4()),
            info={"memory_id": memory_id},
            session_id=self.session_id,
        )
        await self._tasks.submit(message)
        if wait:
            await self._tasks.wait(message.item_id, timeout)
        return message.item_id

    async def delete(self, memory_id: str, mem_cube_id: str | None = None, user_id: str | None = None) -> None:
        """Delete one memory for good, at once: it is neither found nor in the working set any more.

        What it had corrected holds again. What a model took from it, and what corrects it, are memories of their own.
        """
        user, services = self._user(user_id), await self._services()
        found = await find_memory(services, user, memory_id, mem_cube_id, Permission.WRITE)
        await services.deletion.delete(found.ref, [found.memory], user_id=user, name=found.name)
        self._chat.forget(found.ref.mem_cube_id, [found.memory.text])

    async def delete_all(self, mem_cube_id: str, user_id: str | None = None) -> int:
        """Delete all memories of a cube for good; returns how many. Only its owner may."""
        user, services = self._user(user_id), await self._services()
        ref = await services.cubes.resolve(user, mem_cube_id, Permission.WRITE)
        if ref.user_id != user:
            raise CubeForbidden(user, mem_cube_id, f"only its owner {ref.user_id!r} may delete all of it")
        deleted = await services.deletion.delete_all(ref, user_id=user, name=mem_cube_id)
        self._chat.forget(ref.mem_cube_id)
        return deleted

    async def wait(
        self,
        task_id: str | None = None,
        *,
        user_id: str | None = None,
        mem_cube_id: str | None = None,
        label: str = ADD_TASK_LABEL,
        timeout: Seconds | None = None,
    ) -> None:
        """Until a task of ``add`` or ``update`` is done and what follows from it; or all of a user's; or all.

        After that, whoever asks sees it. Raises WaitTimeout, TaskFailed, UnknownTask.

        Args:
            mem_cube_id: the user's cube that the task is about: then it may have been submitted anywhere.
            label: of the task's message, with ``mem_cube_id``: ``mem_feedback`` of ``update``.
        """
        await self.start()
        if task_id is None:
            await self.mem_scheduler.wait(user_id=user_id, timeout=timeout)
        elif mem_cube_id is not None:
            message = _message(self._user(user_id), mem_cube_id, label, "", item_id=task_id)
            await self._tasks.follow(message, timeout)
        else:
            await self._tasks.wait(task_id, timeout)

    # -- finding -------------------------------------------------------------------------------------------------

    async def search(
        self,
        query: str,
        user_id: str | None = None,
        install_cube_ids: Sequence[str] | None = None,
        top_k: int | None = None,
        *,
        mem_cube_ids: Sequence[str] | None = None,
        method: str | None = None,
        search_args: SearchArgs | Mapping[str, Any] | None = None,
        filter: Mapping[str, Any] | None = None,
        min_score: float | None = None,
    ) -> MOSSearchResult:
        """What fits a query, cube by cube, the best first: ``SearchResult``s, with ``.memory`` and ``.score``.

        Args:
            install_cube_ids: the cubes to look in; default: the user's own, and after them those of others that they
                accepted, MOST_CUBES_SEARCHED in all.
            mem_cube_ids: the same.
            top_k: of each cube at most so many.
            filter: what the metadata must be; over what is in ``search_args``.
            min_score: results score so much at least; over what is in ``search_args``.
        """
        user = self._user(user_id)
        views = {view.name: view for view in await (await self._cubes()).cubes_of(user)}
        given = install_cube_ids if mem_cube_ids is None else mem_cube_ids
        if isinstance(given, str):
            given = [given]
        names = list(views)[:MOST_CUBES_SEARCHED] if given is None else list(dict.fromkeys(given))
        if given is None and len(views) > len(names):
            log.warning(
                "the user has more cubes than a search without names looks in; the last ones were left out",
                action="mos.cubes_left_out",
                user_id=user,
                cubes=len(views),
                limit=MOST_CUBES_SEARCHED,
                advice="name the cubes: mem_cube_ids=[...]",
            )
        retriever = self.mem_scheduler.retriever
        k = self.options.top_k if top_k is None else top_k
        args = SearchArgs.of(search_args, filter=filter, min_score=min_score)

        async def ask(name: str) -> list[SearchResult]:
            return await retriever.search(query, user, name, top_k=k, method=method, search_args=args)

        found = await asyncio.gather(*map(ask, names))
        owners = {name: views[name].ref.user_id if name in views else user for name in names}
        return _by_cube(dict(zip(names, found, strict=True)), owners)

    async def get_all(
        self, mem_cube_id: str | None = None, user_id: str | None = None, *, include_archived: bool = False
    ) -> MOSSearchResult:
        """All memories (``Memory``), cube by cube, oldest first; of one cube, or of all that the user may read."""
        user = self._user(user_id)
        services = await self._services()
        if mem_cube_id is None:
            refs = {view.name: view.ref for view in await services.cubes.cubes_of(user)}
        else:
            refs = {mem_cube_id: await services.reading(user, mem_cube_id)}
        conditions = SearchArgs(include_archived=include_archived)
        found = {}
        for name, ref in refs.items():
            scanned = [memory async for memory, _ in services.store.scan(ref, conditions)]
            memories = self.mem_scheduler.release.memories(user, "read", ref, scanned)
            found[name] = sorted(memories, key=lambda each: (each.at, each.session_id, each.turn, each.part))
        return _by_cube(found, {name: ref.user_id for name, ref in refs.items()})

    async def list_memories(
        self,
        mem_cube_id: str | None = None,
        user_id: str | None = None,
        *,
        limit: int = 50,
        order: ListOrder = "newest",
        after: str = "",
        conditions: SearchArgs | Mapping[str, Any] | None = None,
    ) -> MemoryPage:
        """One page of a cube's memories.

        Raises InvalidSearch for conditions, an order or a cursor that are none, CubeForbidden and UnknownCube.

        Args:
            order: by when they were said.
            after: the ``cursor`` of the page before; the order and the conditions must be the same.
            conditions: as ``search_args`` has them: ``filter``, ``kind``, ``session_id``, ``since``, ...
        """
        user = self._user(user_id)
        wanted = SearchArgs.of(conditions)
        services = await self._services()
        name = await self._cube_name(user, mem_cube_id)
        ref = await services.reading(user, name)
        hook = self.mem_scheduler.release
        if not hook.asks:
            return await page_of(services.store, ref, wanted, order=order, limit=limit, cursor=after)

        def released(memories: Sequence[Memory]) -> list[Memory]:
            return hook.memories(user, "read", ref, memories)

        return await released_page_of(services.store, ref, wanted, released, order=order, limit=limit, cursor=after)

    async def get(self, memory_id: str, mem_cube_id: str | None = None, user_id: str | None = None) -> Memory:
        """One memory, in this cube or in any that the user may read. Raises UnknownMemory."""
        user = self._user(user_id)
        found = await find_memory(await self._services(), user, memory_id, mem_cube_id, Permission.READ)
        released = self.mem_scheduler.release.memories(user, "read", found.ref, [found.memory])
        if not released:
            raise UnknownMemory(memory_id)
        return released[0]

    async def working_set(
        self,
        mem_cube_id: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        *,
        role: str | None = None,
        task: str | None = None,
    ) -> list[WorkingMemory]:
        """What the next question of the cube will probably need, best first. See AsyncMemScheduler.working_set."""
        user = self._user(user_id)
        name = await self._cube_name(user, mem_cube_id)
        return await self.mem_scheduler.working_set(user, name, session_id or self.session_id, role=role, task=task)

    async def preload(
        self, mem_cube_id: str | None = None, user_id: str | None = None, session_id: str | None = None
    ) -> None:
        """A conversation begins. See AsyncMemScheduler.preload."""
        user = self._user(user_id)
        name = await self._cube_name(user, mem_cube_id)
        await self.mem_scheduler.preload(user, name, session_id or self.session_id)

    async def predict(
        self, text: str, mem_cube_id: str | None = None, user_id: str | None = None, session_id: str | None = None
    ) -> None:
        """Somebody has typed so much of a question. See AsyncMemScheduler.predict."""
        user = self._user(user_id)
        name = await self._cube_name(user, mem_cube_id)
        await self.mem_scheduler.predict(user, name, text, session_id or self.session_id)

    async def activation(self, mem_cube_id: str | None = None, user_id: str | None = None) -> ActivationBlock:
        """The text at the head of the prompts about the cube, byte for byte: ``block.head(instructions)``."""
        user = self._user(user_id)
        return await self.mem_scheduler.activation(user, await self._cube_name(user, mem_cube_id))

    async def prompt(
        self,
        query: str | None = None,
        mem_cube_id: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        max_tokens: int | None = None,
        *,
        top_k: int | None = None,
        search: SearchWhen = "always",
        role: str | None = None,
        task: str | None = None,
    ) -> MemoryPrompt:
        """What goes before a model call: block, what search finds, working set. See AsyncMemScheduler.prompt."""
        user = self._user(user_id)
        name = await self._cube_name(user, mem_cube_id)
        session = session_id or self.session_id
        return await self.mem_scheduler.prompt(
            user, name, query, session, max_tokens, top_k=top_k, search=search, role=role, task=task
        )

    async def themes(self, mem_cube_id: str | None = None, user_id: str | None = None) -> list[Theme]:
        """What the cube's memories are about, the hottest theme first."""
        user = self._user(user_id)
        return await self.mem_scheduler.themes(user, await self._cube_name(user, mem_cube_id))

    async def explain(
        self, memory_id: str | None = None, mem_cube_id: str | None = None, user_id: str | None = None
    ) -> Explanation:
        """What stands where in a cube, and of one memory why. See AsyncMemScheduler.explain."""
        user, name = await self._whose(memory_id, mem_cube_id, user_id)
        return await self.mem_scheduler.explain(user, name, memory_id)

    async def history(
        self, memory_id: str, mem_cube_id: str | None = None, user_id: str | None = None
    ) -> list[HistoryEntry]:
        """All that is known of a memory, oldest first: versions, uses, moves. See AsyncMemScheduler.history."""
        user, name = await self._whose(memory_id, mem_cube_id, user_id)
        return await self.mem_scheduler.history(user, name, memory_id)

    async def pin(self, memory_id: str, mem_cube_id: str | None = None, user_id: str | None = None) -> bool:
        """Keep a memory in the working set; whether it was not pinned already. See AsyncMemScheduler.pin."""
        user, name = await self._whose(memory_id, mem_cube_id, user_id)
        return await self.mem_scheduler.pin(user, name, memory_id)

    async def unpin(self, memory_id: str, mem_cube_id: str | None = None, user_id: str | None = None) -> bool:
        """Let a memory come and go as others do; whether it was pinned."""
        user, name = await self._whose(memory_id, mem_cube_id, user_id)
        return await self.mem_scheduler.unpin(user, name, memory_id)

    async def archive(self, memory_id: str, mem_cube_id: str | None = None, user_id: str | None = None) -> bool:
        """Put a memory away; whether it was not put away by hand already. See AsyncMemScheduler.archive."""
        user, name = await self._whose(memory_id, mem_cube_id, user_id)
        return await self.mem_scheduler.archive(user, name, memory_id)

    async def restore(self, memory_id: str, mem_cube_id: str | None = None, user_id: str | None = None) -> bool:
        """Bring a memory back from the archive, or undo its correction; whether it was there, or was corrected."""
        user, name = await self._whose(memory_id, mem_cube_id, user_id)
        return await self.mem_scheduler.restore(user, name, memory_id)

    # -- chat ----------------------------------------------------------------------------------------------------

    async def chat(
        self,
        query: str,
        user_id: str | None = None,
        mem_cube_id: str | None = None,
        session_id: str | None = None,
        history: Iterable[Any] | None = None,
        *,
        remember_in: str | None = None,
        top_k: int | None = None,
    ) -> str:
        """An answer that knows what the cube knows; without a model, what it knows, and says so.

        What is said is remembered in the cube that is asked; one that is shared for reading only is asked and keeps
        nothing, unless ``remember_in`` names a cube of the user's that shall.

        Args:
            history: the turns before, as ``add`` takes messages; default: those of this session in this process.
        """
        question = await self._question(query, user_id, mem_cube_id, session_id, history, remember_in, top_k)
        return await self._chat.answer(question)

    async def chat_stream(
        self,
        query: str,
        user_id: str | None = None,
        mem_cube_id: str | None = None,
        session_id: str | None = None,
        history: Iterable[Any] | None = None,
        *,
        remember_in: str | None = None,
        top_k: int | None = None,
    ) -> AsyncGenerator[str, None]:
        """As ``chat``, in pieces. Close it when you do not read it to its end."""
        question = await self._question(query, user_id, mem_cube_id, session_id, history, remember_in, top_k)
        async with aclosing(self._chat.stream(question)) as pieces:
            async for piece in pieces:
                yield piece

    def clear_messages(self, user_id: str | None = None) -> None:
        """Forget the turns that the user's next prompts would repeat. What was remembered stays."""
        self._chat.clear(self._user(user_id))

    # -- dumps and status ----------------------------------------------------------------------------------------

    async def dump(
        self, dump_dir: str | os.PathLike[str], mem_cube_id: str | None = None, user_id: str | None = None
    ) -> int:
        """Write a cube to a folder, all of it or nothing; returns how many memories. See GeneralMemCube.dump."""
        from memsched.memory.transfer.export_cube import export_cube  # slow, and loaded with the services

        user = self._user(user_id)
        name = await self._cube_name(user, mem_cube_id)
        services = await self._services()
        ref = await services.reading(user, name)

        def released(memories: Sequence[Memory]) -> list[Memory]:
            return self.mem_scheduler.release.memories(user, "export", ref, memories)

        return await export_cube(services, ref, dump_dir, name=name, released=released)

    async def load(
        self, load_dir: str | os.PathLike[str], mem_cube_id: str | None = None, user_id: str | None = None
    ) -> str:
        """Bring the memories of a dump into a cube (default: one of the name that was dumped); returns its name.

        Also those that were deleted since it was made: to load it is to want them back.
        """
        name = mem_cube_id or await self._name_in(load_dir)
        return await self._import(load_dir, name, self._user(user_id), bring_back=True)

    async def get_tasks_status(self) -> dict[str, Any]:
        """See AsyncMemScheduler.get_tasks_status."""
        return await self.mem_scheduler.get_tasks_status()

    # -- parts ---------------------------------------------------------------------------------------------------

    def _user(self, given: str | None) -> str:
        """Who is meant. Raises InvalidId for an empty id, which is a mistake, and not the user of the configuration."""
        if given is None:
            return self.user_id
        check_id("user_id", given)
        return given

    async def _services(self) -> MemoryServices:
        await self.start()
        return await self.mem_scheduler.memory()

    async def _cubes(self) -> Cubes:
        await self.start()
        return Cubes(await self.mem_scheduler.server(), self.mem_scheduler.keys, self.settings)

    async def _whose(self, memory_id: str | None, mem_cube_id: str | None, user_id: str | None) -> tuple[str, str]:
        """The user and their name of the cube: the one that has the memory, where none is named."""
        user = self._user(user_id)
        if memory_id is not None:
            expect_memory_id(memory_id, (mem_cube_id, user_id), FIRST)
        if mem_cube_id is not None:
            await self.start()
            return user, mem_cube_id
        if memory_id is None:
            return user, await self._cube_name(user, None)
        return user, (await find_memory(await self._services(), user, memory_id, None, Permission.READ)).name

    async def writable(self, mem_cube_id: str | None = None, user_id: str | None = None) -> CubeView:
        """A cube that the user may write to; a new one of their own is made. Raises CubeForbidden, UnknownCube."""
        user = self._user(user_id)
        name = await self._cube_name(user, mem_cube_id)
        return await (await self._cubes()).view(user, name, Permission.WRITE)

    async def cube_of(self, memory_id: str, user_id: str | None = None) -> str:
        """The user's name of the cube that has a memory. Raises UnknownMemory."""
        _, name = await self._whose(memory_id, None, user_id)
        return name

    async def cube_meant(self, user_id: str | None = None) -> str:
        """The user's name of the cube that is meant where none is named. Raises CubeNotSaid."""
        return await self._cube_name(self._user(user_id), None)

    async def _cube_name(self, user_id: str, given: str | None) -> str:
        return await cube_meant(await self._cubes(), user_id) if given is None else given

    async def _question(
        self,
        query: str,
        user_id: str | None,
        mem_cube_id: str | None,
        session_id: str | None,
        history: Iterable[Any] | None,
        remember_in: str | None,
        top_k: int | None,
    ) -> Question:
        user = self._user(user_id)
        await self.start()
        return Question(
            query,
            user,
            await self._cube_name(user, mem_cube_id),
            session_id or self.session_id,
            history,
            remember_in,
            next(each for each in (top_k, self.options.top_k, self.settings.top_k) if each is not None),
        )

    async def _name_in(self, folder: str | os.PathLike[str]) -> str:
        """What the cube in a dump was called."""
        cube, records = await asyncio.to_thread(GeneralMemCube.open, folder)
        del records
        return cube.config.cube_id

    async def _import(
        self, source: GeneralMemCube | str | os.PathLike[str], name: str, user_id: str, *, bring_back: bool
    ) -> str:
        """Import into a cube, made first if there is none; and have its working set look at what is new."""
        from memsched.memory.transfer.import_cube import import_cube  # slow, and loaded with the services

        services = await self._services()
        if name not in {view.name for view in await services.cubes.cubes_of(user_id)}:
            await services.cubes.register(user_id, name)
        ref = await services.cubes.resolve(user_id, name, Permission.WRITE)
        await import_cube(services, source, ref, added_by=user_id, bring_back=bring_back)
        refresh = _message(user_id, name, MEM_UPDATE_TASK_LABEL, "")
        await self.mem_scheduler.submit_messages(refresh)
        return name


def _talk_in(messages: Iterable[Any] | str | None) -> tuple[Conversation | None, list[Any]]:
    """The conversation in what was given, and its turns as they are kept. Raises InvalidMessage."""
    if isinstance(messages, str):
        messages = transcript_of(messages) or None
    if messages is None:
        return None, []
    talk = conversation_given(messages, "messages")
    history = [without_files(each) for each in talk.messages]
    if talk.began is not None:
        began = moment_of(talk.began, "messages")
        history = [with_time(each, began) for each in history]
    return talk, history


def _read_twice(message: ScheduleMessageItem, secrets: Secrets) -> tuple[Reading, Reading]:
    """What is in a message, and what of it is without secrets. Raises InvalidMessage."""
    reading = reading_of(message, called="messages").or_refuse()
    plain = redacted_message(message, secrets)
    return reading, reading if plain is message else reading_of(plain, called="messages")


def _message(user_id: str, mem_cube_id: str, label: str, content: str, **more: Any) -> ScheduleMessageItem:
    """Raises InvalidMessage for values that no message can have."""
    try:
        return ScheduleMessageItem(user_id=user_id, mem_cube_id=mem_cube_id, label=label, content=content, **more)
    except ValidationError as error:
        raise InvalidMessage(describe_validation_error(error)) from error


def _with_what_is_said(
    info: Mapping[str, Any] | None, metadata: Mapping[str, MetadataValue] | None, tags: Iterable[str] | None
) -> dict[str, Any] | None:
    """A message's ``info``. Raises InvalidMessage."""
    said = dict(info or {})
    if metadata is not None:
        said["metadata"] = metadata_given(metadata)
    if tags is not None:
        said["tags"] = tags if isinstance(tags, str) else [*tags]
    return said or None


def _described(view: CubeView) -> dict[str, str]:
    return {"cube_id": view.name, "owner_id": view.ref.user_id, "permission": view.permission.value}


def _by_cube(memories: Mapping[str, Sequence[Any]], owners: Mapping[str, str]) -> MOSSearchResult:
    text_mem: list[FoundInCube] = [
        {"cube_id": name, "owner_id": owners[name], "memories": list(each)} for name, each in memories.items()
    ]
    return {"text_mem": text_mem, "act_mem": [], "para_mem": []}


def _is_folder(text: str) -> bool:
    """Whether a text means a folder, and no name: it says so, or there is a dump of that name."""
    return text.startswith(("/", "./", "../", "~/")) or os.path.isfile(os.path.join(text, MANIFEST))


def _expanded(folder: str | os.PathLike[str]) -> str:
    return os.path.expanduser(os.fspath(folder))
