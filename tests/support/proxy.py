"""A way to a server that can be closed, as an outage does it, or lose its connections, as a NAT does it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Proxy:
    """A TCP port that leads to a unix socket: nothing listens there while it is closed."""

    def __init__(self, port: int, target: Callable[[], str]) -> None:
        self.port = port
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        """As an outage does it: those who are connected lose their connection."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            self._server = None

    def forget(self) -> None:
        """As a NAT does it: what is connected now gets no answer any more, and no word of that. Others may connect."""
        for writer in self._open:
            writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_unix_connection(self._target())
        self._open |= {writer, here}
        await asyncio.gather(_pump(reader, here), _pump(there, writer), return_exceptions=True)
        self._open -= {writer, here}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
