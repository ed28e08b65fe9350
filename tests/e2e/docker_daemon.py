"""Docker for a test: the daemon that runs already, or one of our own in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 60.0


class DockerUnavailable(Exception):
    """Docker, or an image that the test needs, is not to be had on this machine. Nothing was tested."""


class CommandFailed(Exception):
    """A docker or compose command failed; the message holds what it printed."""


@dataclass(frozen=True)
class Docker:
    """The docker and compose commands of this machine, bound to one daemon."""

    compose_command: tuple[str, ...]
    environment: Mapping[str, str]

    def run(self, *arguments: str, timeout: float = 60) -> str:
        return run(("docker", *arguments), environment=self.environment, timeout=timeout)

    def compose(self, *arguments: str, timeout: float = 120) -> str:
        return run((*self.compose_command, *arguments), environment=self.environment, timeout=timeout)

    def has_image(self, name: str) -> bool:
        try:
            self.run("image", "inspect", name)
        except CommandFailed:
            return False
        return True


def run(command: tuple[str, ...], *, environment: Mapping[str, str], timeout: float) -> str:
    """Run a command and return its standard output; CommandFailed with all it printed when it fails."""
    try:
        process = subprocess.Popen(
            command, env=dict(environment), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise CommandFailed(f"{command[0]}: not found") from error
    try:
        output, errors = process.communicate(timeout=timeout)
    except BaseException as interruption:
        process.kill()
        # To the end of its output: then whatever it had started is gone as well.
        output, errors = process.communicate(timeout=STOP_SECONDS)
        if isinstance(interruption, subprocess.TimeoutExpired):
            raise CommandFailed(f"{' '.join(command)}: no end after {timeout:.0f} s\n{output}{errors}") from None
        raise
    if process.returncode != 0:
        raise CommandFailed(f"{' '.join(command)}: exit code {process.returncode}\n{output}{errors}")
    return output


def compose_command() -> tuple[str, ...] | None:
    """`docker compose` (version 2, a plugin of the client), else `docker-compose` (1.29), else None."""
    try:
        run(("docker", "compose", "version"), environment=os.environ, timeout=30)
    except CommandFailed:
        return ("docker-compose",) if shutil.which("docker-compose") else None
    return ("docker", "compose")


def clean_environment() -> dict[str, str]:
    """This process's environment without what docker-compose.yml would take from a developer's shell."""
    left_out = ("COMPOSE_", "IMAGE_", "MEMSCHED_", "PYTHON_IMAGE", "QDRANT_", "REDIS_", "WORKER_IMAGE")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}


@contextmanager
def docker() -> Iterator[Docker]:
    """Docker, for the time of the block. A daemon started here is stopped and removed at the end."""
    if shutil.which("docker") is None:
        raise DockerUnavailable("there is no `docker` command on PATH")
    compose = compose_command()
    if compose is None:
        raise DockerUnavailable("there is neither a `docker compose` plugin nor a `docker-compose` command")
    present = Docker(compose, clean_environment())
    if _answers(present):
        yield present
        return
    if shutil.which("dockerd") is None:
        raise DockerUnavailable("no Docker daemon answers, and there is no `dockerd` on PATH to start one")
    if os.geteuid() != 0:
        raise DockerUnavailable("no Docker daemon answers, and only root can start one")
    with _own_daemon(compose) as own:
        yield own


@contextmanager
def _own_daemon(compose: tuple[str, ...]) -> Iterator[Docker]:
    folder = Path(tempfile.mkdtemp(prefix="memsched-docker-"))
    host = f"unix://{folder}/docker.sock"
    log = folder / "dockerd.log"
    with log.open("w") as output:
        # A session of its own: Ctrl-C must reach this script only, which still needs the daemon to clean up.
        daemon = subprocess.Popen(
            [
                "dockerd",
                f"--host={host}",
                f"--data-root={folder}/data",
                f"--exec-root={folder}/exec",
                f"--pidfile={folder}/docker.pid",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        own = Docker(compose, {**clean_environment(), "DOCKER_HOST": host})
        deadline = time.monotonic() + START_SECONDS
        while not _answers(own):
            if daemon.poll() is not None or time.monotonic() > deadline:
                last_lines = "\n".join(log.read_text().splitlines()[-5:])
                raise DockerUnavailable(f"dockerd does not start on this machine:\n{last_lines}")
            time.sleep(0.2)
        yield own
    finally:
        daemon.terminate()
        try:
            daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        # dockerd leaves the host's network namespace mounted once a container or a build has used it.
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for path in reversed([path for path in mounted if path.startswith(f"{folder}/")]):
            run(("umount", path), environment=os.environ, timeout=30)
        shutil.rmtree(folder)


def _answers(docker: Docker) -> bool:
    try:
        docker.run("version", "--format", "{{.Server.Version}}", timeout=10)
    except CommandFailed:
        return False
    return True
