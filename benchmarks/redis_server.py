"""A Redis server of a benchmark's own, append-only as in production, in the benchmark's folder."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[Path]:
    """Runs while the block does; gives its socket."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        sys.exit("the benchmark needs redis-server or valkey-server on PATH")
    socket = folder / "redis.sock"
    command = [binary, "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--appendonly", "yes"]
    server = subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            time.sleep(0.01)
        yield socket
    finally:
        server.kill()
        server.wait()
