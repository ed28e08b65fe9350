"""The embedded model server of `embedded://FOLDER`: llama.cpp's, with one GGUF file, shared by every process that names
the folder and the file.

It listens on loopback, with a key. Its state is in FOLDER/llm/NAME-HASH, one folder per file: its port and key, the
caches of slots that it saved, and the LoRA adapters that it loads.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import secrets
import signal
import socket
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any

from memsched.backoff import poll_pauses
from memsched.deadline import Deadline
from memsched.embedded.shared_server import NoProgram, Program, SharedServer, module_program, shared_server
from memsched.errors import EmbeddedServerError

SUBFOLDER = "llm"
ENDPOINT_FILE = "endpoint.json"
SLOTS = "slots"
ADAPTERS = "adapters"
MODULE = "memsched.embedded.model_process"
_MAGIC = b"GGUF"
_IDLE_SECONDS = 0.05
_ASK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ModelServer:
    """Where the server is asked, and what it is asked with.

    Args:
        url: without ``/v1``.
        folder: of its state.
    """

    url: str
    key: str = field(repr=False)
    folder: Path

    @property
    def adapters(self) -> Path:
        """LoRA adapters in GGUF files. It loads them when it starts, by their names in order, and applies none by
        itself; see ``restart_model_server``.
        """
        return self.folder / ADAPTERS


class _Models:
    """`python -m memsched.embedded.model_process`, by the interpreter that has llama.cpp.

    Args:
        model: the file. context: tokens of each slot. slots: how many calls it works on at once.
        files: the folder that slots are saved in; empty: the usual one.
    """

    what = "embedded model server"
    socket_name = "model.sock"
    probe = "http"
    written_file = "log"
    other_kind = "MEMSCHED_LLM_BASE_URL=http://..."

    def __init__(self, model: Path, context: int = 0, slots: int = 0, files: str = "") -> None:
        self._model = model
        self._files = files
        self._context = context
        self._slots = slots

    def program(self, remembered: str | None, chosen: str, folder: str, socket_path: str) -> Program:
        _check(self._model)
        _choose_endpoint(Path(folder))
        files = self._files or os.path.join(folder, SLOTS)
        for each in (files, os.path.join(folder, ADAPTERS)):
            os.makedirs(each, mode=0o700, exist_ok=True)
        options = {"model": str(self._model), "context": self._context, "slots": self._slots, "files": files}
        return module_program(
            MODULE, folder, socket_path, json.dumps(options), version=f"xllamacpp {version('xllamacpp')}"
        )

    def advice(self, folder: str, log: str, state: dict[str, Any], program: Program) -> str:
        if "failed to load model" in log or "error loading model" in log:
            return f" {self._model} is damaged, or of a kind that this llama.cpp does not know. Get the file again."
        if "alloc" in log:
            return " The machine has too little memory for it: choose a smaller one, or fewer tokens of context."
        return ""


def ensure_model_server(
    folder: str | Path,
    model: str,
    *,
    context: int = 8192,
    slots: int = 2,
    files: str = "",
    timeout_seconds: float = 15.0,
) -> ModelServer:
    """The server of a model; ``model`` is a file in ``folder``, or a whole path.

    Starts it if it does not run, and returns when it answers; about a millisecond when it does, so call it again after
    a connection error. From then on this process counts as a user; the server stops 2 s after its last user.
    Blocks, at most for `timeout_seconds`. Raises EmbeddedServerError; EmbeddedServerNotReady when the model is still
    being loaded, which goes on.

    Args:
        context, slots: of a server that has to be started; one that runs stays as it is.
        files: the same of the folder that it saves slots in; empty: ``slots`` in its own.
    """
    shared_server(_Models(_file(folder, model), context, slots, files), place_of(folder, model)).ensure(timeout_seconds)
    return _server_in(place_of(folder, model))


def check_model(folder: str | Path, model: str) -> None:
    """Raises NoProgram when the server cannot start: llama.cpp is not installed, or this is no model for it."""
    _check(_file(folder, model))


def restart_model_server(folder: str | Path, model: str, *, timeout_seconds: float = 60.0, **options: Any) -> None:
    """Have it load its adapters anew, between calls: it is waited for until it works on none. Raises
    EmbeddedServerError, also when that does not come in time: no call is broken off for it.
    """
    deadline = Deadline(timeout_seconds)
    ensure_model_server(folder, model, timeout_seconds=deadline.left, **options)
    _end_between_calls(place_of(folder, model), deadline)
    ensure_model_server(folder, model, timeout_seconds=max(1.0, deadline.left), **options)


def unload_adapter(place: Path, name: str, *, timeout_seconds: float = 60.0) -> None:
    """Delete the file of an adapter, and have the server that runs there, if one does and it loaded this adapter, begin
    anew, between calls. Raises EmbeddedServerError as ``restart_model_server``.
    """
    (place / ADAPTERS / f"{name}.gguf").unlink(missing_ok=True)
    if _pid_at(place) is None:
        return
    loaded = _asked(_server_in(place), "/lora-adapters") or []
    if any(PurePath(str(each.get("path", ""))).stem == name for each in loaded):
        _end_between_calls(place, Deadline(timeout_seconds))


def _end_between_calls(place: Path, deadline: Deadline) -> None:
    """End the server's process as soon as it works on no call, and wait until there is another one."""
    pauses = poll_pauses(0.01, 0.2)
    while (pid := _pid_at(place)) is None or _works(_server_in(place)):
        if deadline.passed:
            raise EmbeddedServerError(f"The embedded model server in {place} works without a pause. Call again.")
        time.sleep(next(pauses))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    for pause in poll_pauses(_IDLE_SECONDS, 0.2):
        if deadline.passed or _pid_at(place) not in (pid, None):
            break
        time.sleep(pause)


def _works(server: ModelServer) -> bool:
    """Whether it works on a call. Who does not answer in time does: a server answers between two parts of a prompt."""
    slots = _asked(server, "/slots")
    return slots is None or any(each.get("is_processing") for each in slots)


def release_model_server(folder: str | Path, model: str) -> None:
    """This process no longer uses the server. Also happens when the process ends."""
    _handle(folder, model).release()


def model_server_pid(folder: str | Path, model: str) -> int | None:
    """The process number of the server, if it runs and answers."""
    return _pid_at(place_of(folder, model))


def _pid_at(place: Path) -> int | None:
    return SharedServer(_Models(place), os.path.realpath(place)).pid()


def place_of(folder: str | Path, model: str) -> Path:
    """The folder of a model's server; two files of one name have each their own."""
    file = _file(folder, model)
    return Path(folder) / SUBFOLDER / f"{file.stem[:40]}-{hashlib.sha256(os.fsencode(file)).hexdigest()[:8]}"


def places_of_models(folder: Path) -> list[Path]:
    """The folders of all model servers that ever ran in a folder."""
    return [each for each in sorted((folder / SUBFOLDER).glob("*")) if each.is_dir()]


def _handle(folder: str | Path, model: str) -> SharedServer:
    return shared_server(_Models(_file(folder, model)), place_of(folder, model))


def _file(folder: str | Path, model: str) -> Path:
    return Path(os.path.realpath(Path(folder) / model))


def _check(model: Path) -> None:
    """Raises NoProgram when there is no llama.cpp, or this is no model for it."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise NoProgram(
            "Not installed: xllamacpp. Set MEMSCHED_LLM_BASE_URL=http://..., or pip install 'memsched[local]'."
        )
    advice = "MEMSCHED_LLM_MODEL is the name of a GGUF file in the folder of MEMSCHED_LLM_BASE_URL, or its whole path."
    try:
        with model.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except FileNotFoundError:
        raise NoProgram(f"There is no file {model}. {advice}") from None
    except OSError as error:
        raise NoProgram(f"{model} cannot be read ({error.strerror}). {advice}") from None
    if magic != _MAGIC:
        raise NoProgram(f"{model} is no GGUF file. {advice}")


def _choose_endpoint(place: Path) -> None:
    """Keep the port of the server before, so that clients find the one that follows; the key is for good."""
    given = _read_endpoint(place)
    key = given.get("key") or secrets.token_urlsafe(32)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", int(given.get("port", 0))))
        except OSError:  # somebody else's by now
            listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    write_endpoint(place, port, key)


def write_endpoint(place: Path, port: int, key: str) -> None:
    """For this user only: the folder is private too, but may have been there before."""
    temporary = place / f"{ENDPOINT_FILE}.new"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump({"port": port, "key": key}, file)
    temporary.replace(place / ENDPOINT_FILE)


def _read_endpoint(place: Path) -> dict[str, Any]:
    try:
        found = json.loads((place / ENDPOINT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _server_in(place: Path) -> ModelServer:
    found = _read_endpoint(place)
    if not found:
        raise EmbeddedServerError(f"No model server was ever started in {place}.")
    return ModelServer(f"http://127.0.0.1:{found['port']}", found["key"], place)


def _asked(server: ModelServer, path: str) -> list[dict[str, Any]] | None:
    """The list that it answers with; None: it does not answer in time. Of one that is not there, or refuses: []."""
    request = urllib.request.Request(server.url + path, headers={"Authorization": f"Bearer {server.key}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_ASK_SECONDS) as answer:  # noqa: S310  our own address
            found: list[dict[str, Any]] = json.load(answer)
            return found
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return None if isinstance(reason, TimeoutError) else []
