"""The server that memsched starts itself on one machine, for `embedded://FOLDER`."""

from memsched.embedded.redis_server import ensure_server, release_server, server_pid
from memsched.errors import EmbeddedServerError

__all__ = ["EmbeddedServerError", "ensure_server", "release_server", "server_pid"]
