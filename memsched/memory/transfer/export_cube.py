"""Export: a cube's memories from the store to a folder, page by page."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory
from memsched.memory.store.store import MemoryStore
from memsched.memory.transfer.cube_object import GeneralMemCube, GeneralMemCubeConfig
from memsched.memory.transfer.dump_folder import DumpWriter

_PAGE = 256
Record = Mapping[str, Any]


async def export_cube(
    store: MemoryStore,
    ref: CubeRef,
    folder: str | os.PathLike[str],
    *,
    name: str = "",
    released: Callable[[Sequence[Memory]], Sequence[Memory]] = list,
) -> int:
    """Write all memories of a cube to a folder, archived ones too; returns how many. See GeneralMemCube.dump.

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

    async with _dumping(GeneralMemCube(config), folder) as dump:
        page: list[Memory] = []
        async for memory, _ in store.scan(ref):
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
