"""HTTP routes of Qdrant's REST protocol, as an ASGI application: which path calls what, and how errors are told.

Everything of the engine runs in the one thread of the event loop: the engine holds Python's lock while it works, so
threads would gain nothing, and this way every request is atomic.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from pydantic_core import from_json, to_json

from memsched.embedded.vectors.catalogue import Catalogue
from memsched.embedded.vectors.shard import Shard
from memsched.embedded.vectors.validation import RequestError, bad_request, engine_error, is_of_engine, unsupported
from memsched.logs import get_logger

MAX_BODY_BYTES = 64 * 1024 * 1024
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = get_logger(__name__)

ON_COLLECTION: dict[tuple[str, str], Callable[[Shard, Any], Any]] = {
    ("PUT", "index"): Shard.create_index,
    ("PUT", "points"): Shard.upsert,
    ("POST", "points"): Shard.retrieve,
    ("POST", "points/batch"): Shard.batch_update,
    ("POST", "points/count"): Shard.count,
    ("POST", "points/delete"): Shard.delete,
    ("POST", "points/query"): Shard.query,
    ("POST", "points/query/batch"): Shard.query_batch,
    ("POST", "points/scroll"): Shard.scroll,
}


class App:
    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.last_request = time.monotonic()
        self._process_id = str(os.getpid()).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        begin = time.perf_counter()
        path = [unquote(part) for part in scope["raw_path"].decode().split("/")[1:]]
        try:
            body = await _read(scope, receive)
            status, answer = self.answer(scope["method"], path, body, begin)
        except RequestError as error:
            status, answer = error.status, _error(error, begin)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
            (b"process-id", self._process_id),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def answer(self, method: str, path: list[str], body: bytes, begin: float) -> tuple[int, bytes]:
        if method == "GET" and path == ["readyz"]:
            return 200, b'"all shards are ready"'
        self.last_request = time.monotonic()
        try:
            result = self._route(method, path, body)
            text = result if isinstance(result, bytes) else to_json(result)
            answer = b'{"result":%b,"status":"ok","time":%f}' % (text, time.perf_counter() - begin)
        except RequestError as error:
            return error.status, _error(error, begin)
        except (ValueError, TypeError) as error:
            return 400, _error(bad_request(str(error)), begin)
        except Exception as error:  # noqa: BLE001  the engine knows one class of exceptions: Exception
            told = engine_error(error)
            if told.status >= 500:
                log.error("a request failed", action="vectors.failed", path="/".join(path), error=str(error))
            return told.status, _error(told, begin)
        except BaseException as error:
            if not is_of_engine(error):
                raise
            for collection in self.catalogue:
                collection.discard()
            log.error("the engine failed", action="vectors.panic", path="/".join(path), error=str(error))
            return 500, _error(RequestError(500, f"Service internal error: {error}"), begin)
        return 200, answer

    def _route(self, method: str, path: list[str], body: bytes) -> Any:
        catalogue = self.catalogue
        match method, path:
            case "GET", ["collections"]:
                return {"collections": [{"name": name} for name in catalogue.names()]}
            case "GET", ["aliases"]:
                return {"aliases": catalogue.aliases()}
            case "POST", ["collections", "aliases"]:
                return catalogue.change_aliases(_json(body))
            case "GET", ["collections", name]:
                return catalogue.find(name).info()
            case "PUT", ["collections", name]:
                return catalogue.create(name, _json(body))
            case "PATCH", ["collections", name]:
                return catalogue.update(name, _json(body))
            case "DELETE", ["collections", name]:
                return catalogue.delete(name)
            case "GET", ["collections", name, "exists"]:
                return {"exists": catalogue.has(name)}
            case _, ["collections", name, *rest]:
                serve = ON_COLLECTION.get((method, "/".join(rest)))
                if serve is not None:
                    return serve(catalogue.find(name), _json(body))
        raise unsupported(f"{method} /{'/'.join(path)}")


async def _read(scope: Scope, receive: Receive) -> bytes:
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    _check_length(int(length) if length.isdigit() else 0)
    parts = []
    received = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(400, "Wrong input: the client has gone")
        part = message.get("body", b"")
        parts.append(part)
        received += len(part)
        _check_length(received)
        more = message.get("more_body", False)
    return b"".join(parts)


def _check_length(length: int) -> None:
    if length > MAX_BODY_BYTES:
        raise RequestError(413, f"Payload error: JSON payload is larger than allowed (limit: {MAX_BODY_BYTES} bytes).")


def _json(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False) if body else {}
    except ValueError as error:
        raise RequestError(400, f"Format error in JSON body: {error}") from None


def _error(error: RequestError, begin: float) -> bytes:
    return to_json({"status": {"error": error.message}, "time": time.perf_counter() - begin})
