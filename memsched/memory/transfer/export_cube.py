"""Export: a cube's memories from the store to a folder, page by page."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory
from memsched.memory.store.store import MemoryStore
from memsched.memory.transfer.cube_object import GeneralMemCube, GeneralMemCubeConfig, Standing
from memsched.memory.transfer.dump_folder import DumpWriter

_PAGE = 256
Record = Mapping[str, Any]


class Services(Protocol):
    """What is needed of the services of a process."""

    @property
    def store(self) -> MemoryStore: ...
    async def standing(self, ref: CubeRef) -> Standing: ...


async def export_cube(
    services: Services,
    ref: CubeRef,
    folder: str | os.PathLike[str],
    *,
    name: str = "",
    released: Callable[[Sequence[Memory]], Sequence[Memory]] = list,
) -> int:
    """Write all memories of a cube to a folder, archived ones too, its pins and its log of answers; returns how many
    memories. See GeneralMemCube.dump.

    Raises CubeDumpError (then an earlier dump is still there) and StoreUnavailable.

    Args:
        name: of the cube, for people.
        released: what of some memories may leave.
    """
    config = GeneralMemCubeConfig(user_id=ref.user_id, cube_id=ref.mem_cube_id, name=name)
    written = 0

    async def write(memories: Sequence[Memory]) -> int:
        page = [memory.to_payload() | {"memory_id": memory.memory_id} for memory in released(memories)]
        return await asyncio.to_thread(_write, dump, page)

    standing = await services.standing(ref)
    named = {*standing.pins, *(each for event in standing.log for each in event["credited"])}
    known = await services.store.get(ref, sorted(named))
    leave = {each.memory_id for each in released(list(known.values()))}
    pins = [each for each in standing.pins if each in leave]
    log = [{**event, "credited": [each for each in event["credited"] if each in leave]} for event in standing.log]
    cube = GeneralMemCube(config, standing=Standing(pins, [event for event in log if event["credited"]]))
    async with _dumping(cube, folder) as dump:
        page: list[Memory] = []
        async for memory, _ in services.store.scan(ref):
            page.append(memory)
            if len(page) == _PAGE:
                written += await write(page)
                page = []
        written += await write(page)
    return written


@asynccontextmanager
async def _dumping(cube: GeneralMemCube, folder: str | os.PathLike[str]) -> AsyncIterator[DumpWriter]:
    """``cube.dumping``, with what waits for the disk in a thread."""
    writer = cube.dumping(folder)
    await asyncio.to_thread(writer.__enter__)
    try:
        yield writer
    except BaseException as error:
        await asyncio.to_thread(writer.__exit__, type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(writer.__exit__, None, None, None)


def _write(dump: DumpWriter, page: Sequence[Record]) -> int:
    for record in page:
        dump.add(record)
    return len(page)
