"""`python -m memsched.embedded.model_process FOLDER SOCKET OPTIONS`: llama.cpp's server. Started by the watchdog.

Its HTTP server is on loopback; on the socket it only tells the watchdog, and whoever waits, that it is ready. It needs
no end of its own: SIGTERM ends it at once, and what it wrote counts only when it was checked (activation/files.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from memsched.deadline import Deadline
from memsched.embedded.model_server import ADAPTERS, ENDPOINT_FILE, write_endpoint
from memsched.embedded.unix_listener import listen

_SHARE_OF_MEMORY = 8
"""A part of the machine's memory that prompts which left their slots may take."""
_SMALL_BYTES = 64 * 1024**2
"""Threads wait for each other after each step of a model: for a smaller one than this, longer than they compute."""
_LOG_SECONDS = 1.0
_LOG_BYTES = 1_000_000
_NOT_LOADED = "failed to load lora adapter "
_WARNINGS = 2
"""What llama.cpp says: errors and warnings. One more, and it would show the end of the key."""


def start(options: dict[str, Any], endpoint: dict[str, Any], adapters: list[Path]) -> Any:
    """The server, with its model loaded: there it stays until this process ends.

    Prompts that left their slots are kept in memory without the adapter that they were read with: where there are
    adapters they are not kept, or a request would go on from another adapter's cache.
    """
    import xllamacpp  # an optional extra, of 100 MB

    params = xllamacpp.CommonParams()
    params.model.path = options["model"]
    params.model_alias = {os.path.basename(options["model"])}
    params.n_parallel = options["slots"]
    params.n_ctx = options["context"] * options["slots"]
    params.slot_save_path = os.path.join(options["files"], "")
    params.api_keys = [endpoint["key"]]
    params.port = endpoint["port"]
    if os.path.getsize(options["model"]) < _SMALL_BYTES:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.ui = False
    params.verbosity = _WARNINGS
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(each.absolute()), 0.0) for each in adapters]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _SHARE_OF_MEMORY
    params.cache_ram_mib = 0 if adapters else memory // 1024**2
    params.cache_idle_slots = not adapters
    return xllamacpp.Server(params)


def started(options: dict[str, Any], endpoint: dict[str, Any], adapters: list[Path], log: int = 2) -> Any:
    """As ``start``, on another port when this one is taken, and without the adapters that cannot be loaded.

    Args:
        log: the file that llama.cpp writes its errors to: it names there which adapter it is.
    """
    if _is_taken(endpoint["port"]):
        endpoint = {**endpoint, "port": 0}
    while True:
        begin = os.fstat(log).st_size
        try:
            return start(options, endpoint, adapters)
        except RuntimeError:
            if not adapters:
                raise
        damaged = _named_in(log, begin, adapters) or adapters
        names = ", ".join(each.name for each in damaged)
        print(f"adapters that cannot be loaded, and are left out: {names}", file=sys.stderr, flush=True)  # noqa: T201
        adapters = [each for each in adapters if each not in damaged]


def _named_in(log: int, begin: int, adapters: list[Path]) -> list[Path]:
    """Those that an error names; []: it cannot be told. Errors are written by a thread of llama.cpp's own."""
    deadline = Deadline(_LOG_SECONDS)
    while stat.S_ISREG(os.fstat(log).st_mode):
        said = os.pread(log, _LOG_BYTES, begin).decode(errors="replace")
        found = [each for each in adapters if f"{_NOT_LOADED}'{each.absolute()}'" in said]
        if found or deadline.passed:
            return found
        time.sleep(0.02)
    return []


def _is_taken(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


class Readiness:
    """Answers GET /readyz on a unix socket: 200 while the server is well, else 503."""

    def __init__(self, url: str) -> None:
        self._health = f"{url}/health"

    def run(self, listener: socket.socket) -> None:
        listener.listen(64)
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(1)
                connection.recv(4096)
                connection.sendall(self._answer())

    def _answer(self) -> bytes:
        status = "200 OK" if self._is_well() else "503 Service Unavailable"
        return f"HTTP/1.1 {status}\r\nprocess-id: {os.getpid()}\r\ncontent-length: 0\r\n\r\n".encode()

    def _is_well(self) -> bool:
        try:
            with urllib.request.urlopen(self._health, timeout=1):  # noqa: S310  our own address
                return True
        except (OSError, urllib.error.URLError):
            return False


def main() -> int:
    folder, socket_path, options = sys.argv[1:]
    os.umask(0o077)
    os.chdir(folder)
    os.environ["no_proxy"] = "127.0.0.1"
    endpoint = json.loads(Path(ENDPOINT_FILE).read_text(encoding="utf-8"))
    try:
        server = started(json.loads(options), endpoint, sorted(Path(ADAPTERS).glob("*.gguf")))
    except (ImportError, RuntimeError) as error:
        print(f"the model server cannot start: {error}", file=sys.stderr)  # noqa: T201  into its log
        return 1
    url = server.listening_address
    write_endpoint(Path(), urlsplit(url).port or 0, endpoint["key"])
    listener = listen(socket_path)
    threading.Thread(target=Readiness(url).run, args=(listener,), daemon=True).start()
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
