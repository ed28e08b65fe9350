"""A language model's server on this machine that answers as a test tells it: well, badly, late, or not at all.

It listens on a real port, so that processes that a test starts may use its ``url`` too.
"""

from __future__ import annotations

import json
import re
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from memsched.llm.prompts import EXTRACT


@dataclass(frozen=True)
class Reply:
    """How one request is answered.

    text: the model's words; parts: in a list of parts instead. thought: in a field of its own. pieces: how many a
    streamed answer comes in. raw: a body of its own instead of a chat completion. hold: not before the server is
    released (or the caller hangs up). delay_seconds: before the answer, and before every piece of a stream.
    break_after: pieces of a stream after which the connection breaks. drop: the connection is closed without an
    answer. done: a stream says [DONE].
    """

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    finish: str | None = "stop"
    done: bool = True
    thought: str = ""
    parts: Sequence[Any] = ()
    refusal: str | None = None
    usage: Mapping[str, Any] | None = None
    timings: Mapping[str, Any] | None = None
    pieces: int = 3
    hold: bool = False
    delay_seconds: float = 0.0
    break_after: int | None = None
    end_after: int | None = None
    drop: bool = False


def says(text: str, **more: Any) -> Reply:
    return Reply(text, **more)


def says_json(value: Any, **more: Any) -> Reply:
    return Reply(json.dumps(value), **more)


def reads_facts(asked: Asked) -> Reply:
    """A good model that is asked to read a conversation: each turn is a fact, in the words of the turn."""
    (given,) = re.findall(r"<data>\n(.*?)\n</data>", asked.prompt, re.DOTALL)[:1]
    turns = json.loads(given) if asked.is_reading else []
    facts = [
        {
            "kind": "fact",
            "text": turn["text"],
            "quote": turn["text"],
            "source_turns": [turn["index"]],
            "importance": 0.5,
        }
        for turn in turns
        if turn["text"]
    ]
    return says_json({"memories": facts, "decisions": []})


def refuses(words: str = "I cannot help with that.") -> Reply:
    return Reply(refusal=words)


def rubbish() -> Reply:
    """What a proxy's login page looks like: 200, and no chat completion."""
    return Reply(raw=b"<html>please log in</html>", headers={"Content-Type": "text/html"})


def fails(status: int, message: str = "no", *, code: str = "", **headers: str) -> Reply:
    """An HTTP error; ``retry_after="1"`` becomes a header."""
    body = json.dumps({"error": {"message": message, "code": code or None, "type": None, "param": None}})
    return Reply(
        status=status, raw=body.encode(), headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def hangs() -> Reply:
    return Reply("late", hold=True)


def drops() -> Reply:
    return Reply(drop=True)


@dataclass(frozen=True)
class Asked:
    """A request that the server got. headers: names in lower case. at: time.monotonic()."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    at: float

    @property
    def prompt(self) -> str:
        return "\n".join(text_of(message["content"]) for message in self.body.get("messages", []))

    @property
    def is_reading(self) -> bool:
        """Whether a conversation is to be read, and nothing else."""
        return EXTRACT.system in self.prompt


def text_of(content: Any) -> str:
    """What a message says, also where it is in parts."""
    return "".join(part["text"] for part in content) if isinstance(content, list) else str(content)


Script = Callable[[Asked], Reply]


class FakeLLM:
    """``with FakeLLM() as server``; its address is ``server.url``.

    always: the reply (or a function of the request) for requests that no ``then`` was set up for.
    warm: the same for warm-ups, which ask for one token.
    beside: what it answers to GET of paths beside its /v1; nothing else is there.
    """

    def __init__(
        self,
        always: Reply | Script | None = None,
        warm: Reply | Script | None = None,
        beside: Mapping[str, Any] | None = None,
    ) -> None:
        self.beside = beside or {}
        self.is_loading = False
        """Whether it answers 503 to every GET, as servers do that load their model."""
        self.always: Reply | Script = always or says("hello")
        self.warm: Reply | Script = warm or says("", finish="length")
        self.asked: list[Asked] = []
        self.warmed: list[Asked] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.hung_up = 0
        """Callers that closed the connection while their request was held or streamed."""
        self._next: deque[Reply | Script] = deque()
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def then(self, *replies: Reply | Script) -> FakeLLM:
        """What the next requests get, one each, in this order."""
        with self._lock:
            self._next.extend(replies)
        return self

    def release(self) -> None:
        """Let held requests go, now and from now on."""
        self._released.set()

    def hold_again(self) -> None:
        self._released.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()

    # For the handler.

    def begin(self, asked: Asked) -> Reply:
        with self._lock:
            is_warm_up = asked.body.get("max_tokens") == 1
            (self.warmed if is_warm_up else self.asked).append(asked)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            reply = self.warm if is_warm_up else self._next.popleft() if self._next else self.always
        return reply(asked) if callable(reply) else reply

    def end(self, *, hung_up: bool) -> None:
        with self._lock:
            self.in_flight -= 1
            self.hung_up += hung_up

    def wait(self, reply: Reply, connection: socket.socket) -> None:
        """Raises ConnectionError when the caller hangs up meanwhile."""
        ready_at = time.monotonic() + reply.delay_seconds
        while time.monotonic() < ready_at or (reply.hold and not self._released.is_set()):
            readable, _, _ = select.select([connection], [], [], 0.005)
            if readable and not connection.recv(1, socket.MSG_PEEK):
                raise ConnectionResetError


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    fake: FakeLLM


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.server.fake.is_loading:
            self._send(fails(503, "Loading model"))
            return
        found = self.server.fake.beside.get(self.path)
        self._send(fails(404) if found is None else Reply(raw=json.dumps(found).encode()))

    def do_POST(self) -> None:
        fake = self.server.fake
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length) or b"{}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = fake.begin(Asked(self.path, headers, body, time.monotonic()))
        hung_up = False
        try:
            if reply.drop:
                self.close_connection = True
                return
            if body.get("stream") and reply.raw is None:
                self._stream(reply, usage="stream_options" in body)
            else:
                fake.wait(reply, self.connection)
                self._send(reply)
        except (ConnectionError, TimeoutError):
            hung_up = self.close_connection = True
        finally:
            fake.end(hung_up=hung_up)

    def _send(self, reply: Reply) -> None:
        body = reply.raw
        if body is None:
            content = list(reply.parts) or reply.text or None
            message = {"role": "assistant", "content": content, "refusal": reply.refusal}
            message |= {"reasoning_content": reply.thought} if reply.thought else {}
            choice = {"index": 0, "message": message, "finish_reason": reply.finish}
            told = {"usage": reply.usage} | ({"timings": reply.timings} if reply.timings else {})
            body = json.dumps({**_ENVELOPE, "choices": [choice], **told}).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, reply: Reply, *, usage: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        size = max(1, -(-len(reply.text) // reply.pieces))
        texts = [reply.text[at : at + size] for at in range(0, len(reply.text), size)]
        if reply.thought:
            self._event({"choices": [{"index": 0, "delta": {"reasoning": reply.thought}, "finish_reason": None}]})
        if reply.parts:
            self._event({"choices": [{"index": 0, "delta": {"content": list(reply.parts)}, "finish_reason": None}]})
        for count, text in enumerate(texts):
            if count == reply.break_after:
                self.connection.shutdown(socket.SHUT_RDWR)
                raise ConnectionResetError
            if count == reply.end_after:
                self._chunk(b"")
                return
            self.server.fake.wait(reply, self.connection)
            self._event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
        last = {"index": 0, "delta": {"refusal": reply.refusal}, "finish_reason": reply.finish}
        self._event({"choices": [last]})
        if usage:
            timings = {"timings": reply.timings} if reply.timings else {}
            self._event({"choices": [], "usage": reply.usage, **timings})
        if reply.done:
            self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, value: Mapping[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps({**_ENVELOPE, **value}).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


_ENVELOPE = {"id": "answer-1", "object": "chat.completion", "created": 1, "model": "fake"}
