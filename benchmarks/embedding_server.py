"""A stand-in for a server of an embedding model: the vectors of the default embedder, after a while."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from memsched.memory.embedding.hashing import DIMENSIONS, HashingEmbedder

SETTINGS = {"embedding_model": "openai:stand-in", "embedding_dimensions": DIMENSIONS, "embedding_api_key": "none"}


class EmbeddingServer:
    """Answers ``POST /v1/embeddings``.

    Attributes:
        seconds: that an answer takes; a large cube is filled without.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.url = ""
        self._embedder = HashingEmbedder()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[EmbeddingServer]:
        """While the block runs."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        async with server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            yield self

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                asked = json.loads(await reader.readexactly(int(length[1]) if length else 0))
                vectors = await self._embedder.embed_documents(asked["input"])
                await asyncio.sleep(self.seconds)
                data = [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]
                body = json.dumps({"object": "list", "model": "stand-in", "data": data}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
