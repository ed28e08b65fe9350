"""The embedded Redis or Valkey server of `embedded://FOLDER`, shared by every process that names the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from memsched.embedded.redis_binary import BINARY_VARIABLE, find_server_binary
from memsched.embedded.shared_server import Program, shared_server


class _Redis:
    """Redis or Valkey, with an append-only file."""

    what = "embedded server"
    socket_name = "redis.sock"
    probe = "redis"
    written_file = "append-only file"
    other_kind = "MEMSCHED_REDIS_URL=redis://..."

    def program(self, remembered: str | None, chosen: str, folder: str, socket_path: str) -> Program:
        binary = find_server_binary(remembered, chosen)
        command = [
            binary.path,
            *("--port", "0", "--unixsocket", socket_path, "--unixsocketperm", "700", "--dir", "."),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no"),
            *("--logfile", "", "--databases", "16", "--maxmemory-policy", "noeviction"),
        ]
        return Program(command, binary.path, binary.version)

    def advice(self, folder: str, log: str, state: dict[str, Any], program: Program) -> str:
        before = state.get("version", program.version)
        if before != program.version:
            # Such a server may call healthy files damaged, and advise a repair that cuts data off.
            return (
                f" Before, {before} ({state.get('binary')}) wrote this folder, and another server may be unable "
                f"to read that. Do not repair anything; name that server in {BINARY_VARIABLE}."
            )
        if "append only file" in log or "append-only file" in log:
            return (
                f" Its append-only file is damaged. Restore {folder} from a backup; or make a copy of it, then "
                f"run redis-check-aof --fix {folder}/appendonlydir/appendonly.aof.manifest, which cuts off "
                f"everything after the damage."
            )
        return ""


REDIS = _Redis()


def ensure_server(folder: str | Path, *, timeout_seconds: float = 15.0, program: str = "") -> str:
    """The URL of the server that keeps its data in `folder`, which is created if need be.

    Starts the server if it does not run, and returns when it answers. Cheap when it does (about 0.1 ms), so
    call it again after a connection error: whatever was killed is started again, with its data.

    From then on this process counts as a user of the server; a forked child only when it calls this too.
    Blocks, at most for `timeout_seconds`; raises EmbeddedServerError. When the time is over because much data
    is being loaded, the loading goes on, and the next call waits for the rest.

    Args:
        program: the server to start, if one has to be started; empty: see find_server_binary.
    """
    return f"unix://{quote(shared_server(REDIS, folder).ensure(timeout_seconds, program))}?db=0"


def release_server(folder: str | Path) -> None:
    """This process no longer uses the server of `folder`, in any of its threads.

    Also happens by itself when the process ends, in whatever way.
    """
    shared_server(REDIS, folder).release()


def server_pid(folder: str | Path) -> int | None:
    """The process number of the server that runs in `folder`, if one does."""
    return shared_server(REDIS, folder).pid()
