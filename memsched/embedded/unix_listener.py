"""A unix socket that only this user may connect to."""

from __future__ import annotations

import contextlib
import os
import socket


def listen(path: str) -> socket.socket:
    """Bind it, in place of one that a process left which is gone."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o700)
    return listener
