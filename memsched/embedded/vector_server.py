"""The embedded vector server of `embedded://FOLDER`: Qdrant's engine in a process of its own, in FOLDER/vectors.

Every process that names the folder shares it, as it shares the Redis server in FOLDER itself. It is spoken to by
an ordinary AsyncQdrantClient, over a unix socket.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import Any

from memsched.embedded.shared_server import NoProgram, Program, module_program, shared_server

SUBFOLDER = "vectors"
NEEDED = ("qdrant_edge", "uvicorn", "httptools")


class _Vectors:
    """`python -m memsched.embedded.vectors`, by the interpreter that needs it."""

    what = "embedded vector server"
    socket_name = "vectors.sock"
    probe = "http"
    written_file = "log"
    other_kind = "MEMSCHED_QDRANT_URL=http://..."

    def program(self, remembered: str | None, chosen: str, folder: str, socket_path: str) -> Program:
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise NoProgram(
                f"Not installed: {', '.join(missing)}. Set MEMSCHED_QDRANT_URL=http://..., or "
                f"pip install 'memsched[embedded]'."
            )
        version_of = f"qdrant-edge {version('qdrant-edge-py')}"
        return module_program("memsched.embedded.vectors", folder, socket_path, version=version_of)

    def advice(self, folder: str, log: str, state: dict[str, Any], program: Program) -> str:
        return ""


VECTORS = _Vectors()


def ensure_vector_server(folder: str | Path, *, timeout_seconds: float = 15.0) -> str:
    """The path of the socket of the vector server that keeps its data in `folder`/vectors.

    Starts it if it does not run, and returns when it answers; about 0.1 ms when it does, so call it again after a
    connection error. From then on this process counts as a user; the server stops 2 s after its last user.
    Blocks, at most for `timeout_seconds`; raises EmbeddedServerError.
    """
    return shared_server(VECTORS, Path(folder) / SUBFOLDER).ensure(timeout_seconds)


def release_vector_server(folder: str | Path) -> None:
    """This process no longer uses the vector server of `folder`. Also happens when the process ends."""
    shared_server(VECTORS, Path(folder) / SUBFOLDER).release()


def vector_server_pid(folder: str | Path) -> int | None:
    """The process number of the vector server of `folder`, if it runs."""
    return shared_server(VECTORS, Path(folder) / SUBFOLDER).pid()


def vector_client_options(socket_path: str) -> dict[str, Any]:
    """Keyword arguments for AsyncQdrantClient, which speak to the server at `socket_path`.

    The client keeps its connections, and waits for a server that is just being restarted (about 2 s). One client
    belongs to one event loop. Merge a timeout of your own: qdrant-client takes whole seconds.
    """
    from memsched.embedded.unix_transport import UnixTransport  # httptools and httpx may not be installed

    return {
        "url": "http://localhost",
        # The check would go to localhost by TCP, and the server is always the one that this version brings.
        "check_compatibility": False,
        "timeout": 30,
        "trust_env": False,  # a proxy has no business here
        "transport": UnixTransport(socket_path, connect_seconds=2.0),
    }
