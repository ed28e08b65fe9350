"""An OpenAI-compatible server of embeddings, in a thread of the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]


def vector_of(text: str, dimensions: int) -> list[float]:
    """A vector that differs from text to text."""
    return [float((hash_of(text) >> place) % 7 + 1) for place in range(dimensions)]


def hash_of(text: str) -> int:
    return sum((number + 1) * ord(letter) for number, letter in enumerate(text)) * 2654435761 % 2**64


class EmbeddingsServer:
    """``asked`` holds the bodies of all requests; ``next_replies`` are given before the usual ones."""

    def __init__(self, dimensions: int = 8) -> None:
        self.dimensions = dimensions
        self.asked: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.next_replies: list[Reply | Callable[[dict[str, Any]], Reply]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(body)
                status, answer = server.reply(body)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Not into the test's output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def reply(self, body: dict[str, Any]) -> Reply:
        if self.next_replies:
            following = self.next_replies.pop(0)
            return following(body) if callable(following) else following
        return 200, self.vectors(body)

    def vectors(self, body: dict[str, Any]) -> dict[str, Any]:
        size = body.get("dimensions", self.dimensions)
        rows = [
            {"object": "embedding", "index": number, "embedding": vector_of(text, size)}
            for number, text in enumerate(body["input"])
        ]
        return {"object": "list", "model": body["model"], "data": rows[::-1], "usage": {}}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
