"""A stand-in for a language model that takes no facts from what is said, and knows which statement revises which."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_DATA = re.compile(r"<data>\n(.*?)\n</data>", re.DOTALL)


@contextmanager
def stand_in(revisions: Collection[tuple[str, str]]) -> Iterator[str]:
    """Its address, while it runs.

    Args:
        revisions: (later text, earlier text) of what revises what.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            prompt = "\n".join(str(each["content"]) for each in asked["messages"])
            message = {"role": "assistant", "content": json.dumps(_answer(prompt, revisions))}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            choices = [{"index": 0, "finish_reason": "stop", "message": message}]
            told = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
            body = json.dumps({**told, "usage": usage}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def _answer(prompt: str, revisions: Collection[tuple[str, str]]) -> dict[str, Any]:
    if "pair by pair" not in prompt:
        return {"memories": []}
    given = _DATA.search(prompt)
    pairs = [(new, old) for new in json.loads(given.group(1)) for old in new["earlier"]] if given else []
    return {
        "decisions": [
            {"new": new["index"], "earlier": old["index"], "relation": "revises", "quote": new["text"]}
            if (new["text"], old["text"]) in revisions
            else {"new": new["index"], "earlier": old["index"], "relation": "unrelated"}
            for new, old in pairs
        ]
    }
