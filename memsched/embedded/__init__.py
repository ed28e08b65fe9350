"""The servers that memsched starts itself on one machine, for `embedded://FOLDER`."""

from memsched.embedded.redis_server import ensure_server, release_server, server_pid
from memsched.embedded.vector_server import (
    ensure_vector_server,
    release_vector_server,
    vector_client_options,
    vector_server_pid,
)
from memsched.errors import EmbeddedServerError

__all__ = [
    "EmbeddedServerError",
    "ensure_server",
    "ensure_vector_server",
    "release_server",
    "release_vector_server",
    "server_pid",
    "vector_client_options",
    "vector_server_pid",
]
