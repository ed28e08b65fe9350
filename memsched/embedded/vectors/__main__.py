"""`python -m memsched.embedded.vectors FOLDER SOCKET`: the vector process. Started by the watchdog, in FOLDER."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import uvicorn

from memsched.embedded.unix_listener import listen
from memsched.embedded.vectors.catalogue import Catalogue, CatalogueError
from memsched.embedded.vectors.routes import App
from memsched.logs import get_logger

FLUSH_SECONDS = 1.0  # what is lost with the machine, as in Redis' everysec; with the process nothing is
QUIET_SECONDS = 5.0  # without requests: time for what blocks
KEEP_ALIVE_SECONDS = 600  # longer than the clients': a connection must not end while it is used
STOP_SECONDS = 3  # for requests under way; the watchdog's patience is longer

log = get_logger(__name__)


async def housekeeping(app: App) -> None:
    """Flush what was written; vacuum when nobody asks for anything."""
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        quiet = time.monotonic() - app.last_request > QUIET_SECONDS
        for collection in app.catalogue:
            try:
                collection.flush()
                if quiet and collection.needs_vacuum:
                    begin = time.monotonic()
                    if collection.vacuum():
                        seconds = round(time.monotonic() - begin, 3)
                        log.info("tidied up", action="vectors.tidied", name=collection.name, seconds=seconds)
            except Exception as error:  # noqa: BLE001  the engine's only class; the next round tries again
                collection.unflushed = True
                log.error("not written to disk", action="vectors.not_flushed", name=collection.name, error=str(error))
            await asyncio.sleep(0)


async def serve(app: App, socket_path: str) -> None:
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        backlog=512,
    )
    duty = asyncio.create_task(housekeeping(app))
    try:
        await uvicorn.Server(config).serve(sockets=[listen(socket_path)])
    finally:
        duty.cancel()


def run(socket_path: str) -> int:
    try:
        app = App(Catalogue())
    except (CatalogueError, OSError) as error:
        print(f"the vector server cannot start: {error}", file=sys.stderr)  # noqa: T201  into its log
        return 1
    try:
        try:
            import uvloop
        except ImportError:
            asyncio.run(serve(app, socket_path))
        else:
            uvloop.run(serve(app, socket_path))
    finally:
        app.catalogue.close()
    return 0


def main() -> int:
    folder, socket_path = sys.argv[1:]
    os.umask(0o077)
    os.chdir(folder)
    return run(socket_path)


if __name__ == "__main__":
    sys.exit(main())
