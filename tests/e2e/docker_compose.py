"""The compose file at work: the service, three worker containers, 100 messages over HTTP, one container killed midway,
each message accounted for.

    python tests/e2e/docker_compose.py        (as root where no Docker daemon runs yet; it starts one then)

Exit code 0: shown. 1: something was lost or went wrong. 77: Docker cannot run here, and nothing was tested.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from base_images import BaseImages, base_images
from docker_daemon import CommandFailed, Docker, DockerUnavailable, docker

ROOT = Path(__file__).parents[2]
PROJECT = "memsched-e2e"
WORKER_IMAGE = "memsched-e2e:latest"

MESSAGES = 100
USERS = 10
WORKERS = 3
KILL_AFTER = 30  # messages handled; the other 70 are waiting or running then
GRACE_SECONDS = 12
SETTINGS = {
    "MEMSCHED_APP": "file_handlers:handlers",
    "MEMSCHED_MEMORY": "false",  # no Qdrant is there, only a container in its place
    "MEMSCHED_GRACE_SECONDS": str(GRACE_SECONDS),
    "MEMSCHED_BATCH_SIZE": "1",  # a call, and so a file, for every message
    "MEMSCHED_CONCURRENCY": "1",  # so that a worker can be killed midway, on a busy machine too
    "MEMSCHED_MIN_IDLE_MS": "3000",
    # A dead worker is known as dead before its messages are claimed, so that they are seen orphaned.
    "MEMSCHED_BEAT_SECONDS": "0.5",
    "MEMSCHED_WORKER_TTL_SECONDS": "1.5",
}

BUILD_SECONDS = 900.0
HEALTHY_SECONDS = 240.0
HANDLED_SECONDS = 120.0
SKIPPED = 77


class NotShown(AssertionError):
    """The deployment did not do what it promises; the message says what was expected and what was seen."""


@dataclass
class Report:
    """What was seen, line by line, with the seconds since the start."""

    started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.started:7.1f} s  {text}", flush=True)


@dataclass(frozen=True)
class Deployment:
    """The compose project of the test, with a folder that its containers and this process share."""

    docker: Docker
    images: BaseImages
    folder: Path
    api_port: int

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def compose(self, *arguments: str, timeout: float = 120) -> str:
        return self.docker.compose(
            *("--project-name", PROJECT, "--project-directory", str(ROOT)),
            # In place of a developer's .env
            *("--env-file", str(self.folder / "settings.env")),
            *("--file", str(ROOT / "docker-compose.yml")),
            *("--file", str(Path(__file__).with_name("docker-compose.e2e.yml"))),
            *arguments,
            timeout=timeout,
        )

    def containers(self, service: str) -> list[str]:
        """The running containers of a service."""
        return self.docker.run(
            *("ps", "--quiet", "--no-trunc"),
            *("--filter", f"label=com.docker.compose.project={PROJECT}"),
            *("--filter", f"label=com.docker.compose.service={service}"),
            *("--filter", "label=com.docker.compose.oneoff=False"),
        ).split()

    def state(self, container: str) -> dict[str, Any]:
        inspected: list[dict[str, Any]] = json.loads(self.docker.run("inspect", container))
        return inspected[0]

    def healthy(self, container: str) -> bool:
        return bool(self.state(container)["State"]["Health"]["Status"] == "healthy")

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(
            self.docker.run("exec", self.containers("worker")[0], "memsched", "status", "--json")
        )
        return status

    def ask(self, path: str, token: str, body: dict[str, Any] | None = None) -> Any:
        """The service's answer, asked from outside of the containers."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api_port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def messages_held(self, container: str) -> int:
        """How many messages the container's workers hold, says Redis; a worker's id contains its hostname."""
        hostname = self.state(container)["Config"]["Hostname"]
        summary = self.docker.run(
            *("exec", self.containers("redis")[0]),
            *("redis-cli", "XPENDING", "memsched:{DEMO}:stream", "memsched"),
        ).splitlines()
        # Three lines about all of it, then each consumer with its count.
        return sum(
            int(count) for worker, count in zip(summary[3::2], summary[4::2], strict=False) if hostname in worker
        )

    def handled(self) -> Counter[str]:
        """How many times each message was handled, by item_id: one file per message and worker."""
        return Counter(file.name.split(".")[0] for file in self.results.glob("*.json"))


@contextmanager
def deployment(docker: Docker, images: BaseImages) -> Iterator[Deployment]:
    """A compose project, all of which is gone at the end: containers, network, volume, images, files."""
    folder = Path(tempfile.mkdtemp(prefix="memsched-e2e-"))
    folder.chmod(0o755)
    deployed = Deployment(docker, images, folder, _free_port())
    deployed.results.mkdir()
    deployed.results.chmod(0o777)  # the workers are not root, and not us
    handlers = shutil.copyfile(Path(__file__).with_name("file_handlers.py"), folder / "file_handlers.py")
    handlers.chmod(0o644)
    settings = {
        **SETTINGS,
        "PYTHON_IMAGE": images.python,
        "REDIS_IMAGE": images.redis,
        "WORKER_IMAGE": WORKER_IMAGE,
        "E2E_FOLDER": str(folder),
        "API_PORT": f"127.0.0.1:{deployed.api_port}",
    }
    (folder / "settings.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    try:
        yield deployed
    except Exception:
        _print_logs(deployed)
        raise
    finally:
        deployed.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
        for image in (WORKER_IMAGE, *images.made):
            if docker.has_image(image):
                docker.run("image", "rm", "--force", image)
        shutil.rmtree(folder)


def show(deployed: Deployment, report: Report) -> None:
    deployed.compose("build", "worker", timeout=BUILD_SECONDS)
    size = int(deployed.docker.run("image", "inspect", "--format", "{{.Size}}", WORKER_IMAGE))
    base = int(deployed.docker.run("image", "inspect", "--format", "{{.Size}}", deployed.images.python))
    report.say(f"image built: {(size - base) / 1e6:.0f} MB on top of its base")

    deployed.compose("up", "--detach", "--no-build", "--scale", f"worker={WORKERS}", timeout=HEALTHY_SECONDS)
    workers = deployed.containers("worker")
    expect(len(workers) == WORKERS, f"{WORKERS} worker containers", workers)
    wait(lambda: all(deployed.healthy(worker) for worker in workers), HEALTHY_SECONDS, "all workers healthy")
    report.say(f"Redis and {WORKERS} workers are up and healthy")
    for worker in workers:
        uid = deployed.docker.run("exec", worker, "id", "-u").strip()
        expect(uid != "0", "workers that do not run as root", uid)
        timeout = deployed.state(worker)["Config"]["StopTimeout"]
        expect(timeout > GRACE_SECONDS, f"more time to stop than {GRACE_SECONDS} s of grace", timeout)

    # The service is up since then, and ends again and again until there is a key.
    token = deployed.compose("run", "--rm", "-T", "tools", *("keys", "create", "--role", "app", "--users", "*")).strip()
    wait(lambda: all(map(deployed.healthy, deployed.containers("api"))), HEALTHY_SECONDS, "the service healthy")
    ready = deployed.ask("/readyz", token)
    expect(ready["workers"] == WORKERS, f"{WORKERS} workers, as the service sees them", ready)
    report.say(f"the service is up since it has a key: {ready}")

    items = submit(deployed, token)
    report.say(f"{MESSAGES} messages of {USERS} users submitted over HTTP")

    wait(lambda: len(deployed.handled()) >= KILL_AFTER, HANDLED_SECONDS, f"{KILL_AFTER} messages handled")
    killed = max(workers, key=deployed.messages_held)
    deployed.docker.run("kill", "--signal", "KILL", killed)
    held, handled = deployed.messages_held(killed), len(deployed.handled())
    report.say(
        f"container {killed[:12]} killed with SIGKILL while it held {held} messages; "
        f"{handled} of {MESSAGES} were handled by then"
    )
    expect(held > 0, "a worker killed while it holds messages", f"none held by {killed[:12]}")

    orphaned = 0

    def nothing_left() -> bool:
        nonlocal orphaned
        status = deployed.status()
        orphaned = max(orphaned, status["orphaned"])
        return bool(status["backlog"] == 0)

    wait(nothing_left, HANDLED_SECONDS, "a backlog of 0")
    status = deployed.status()
    runs = deployed.handled()
    report.say(
        f"backlog 0; {orphaned} messages were seen orphaned; {len(runs)} of {MESSAGES} handled, "
        f"{runs.total() - len(runs)} of them twice, {status['dead']} dead letters"
    )
    expect(len(runs) == MESSAGES, f"{MESSAGES} different messages handled", len(runs))
    states = Counter(
        deployed.ask(f"/v1/scheduler/items/{item}?user_id={user}", token)["items"][0]["state"]
        for item, user in items.items()
    )
    expect(states == {"completed": MESSAGES}, f"{MESSAGES} records that say completed", states)
    report.say(f"each is accounted for, says the service: {dict(states)}")
    for count in ("running", "remaining", "orphaned", "delayed", "dead"):
        expect(status[count] == 0, f"{count} = 0", status)
    survivors = deployed.containers("worker")
    expect(set(survivors) == {*workers} - {killed}, "the two other workers still running", survivors)
    expect(all(deployed.healthy(worker) for worker in survivors), "the two other workers healthy", status)

    stopping = time.monotonic()
    deployed.compose("stop", "worker")
    codes = [deployed.state(worker)["State"]["ExitCode"] for worker in survivors]
    report.say(f"the other two stopped in {time.monotonic() - stopping:.1f} s, with exit codes {codes}")
    expect(137 not in codes, "workers that stop at SIGTERM by themselves", codes)


def submit(deployed: Deployment, token: str) -> dict[str, str]:
    """Submit them, one request a user. Returns whose each one is, by its id."""
    items = {}
    for user in (f"user-{number}" for number in range(USERS)):
        messages = [
            {"label": "DEMO", "mem_cube_id": "cube", "content": f"message {number}"}
            for number in range(MESSAGES // USERS)
        ]
        answer = deployed.ask("/v1/scheduler/messages", token, {"user_id": user, "messages": messages})
        items.update({each["item_id"]: user for each in answer["items"]})
    expect(len(items) == MESSAGES, f"{MESSAGES} messages with ids of their own", len(items))
    return items


def wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < deadline, f"{what} within {seconds:.0f} s", "not yet")
        time.sleep(0.05)


def expect(holds: bool, expected: str, seen: object) -> None:
    if not holds:
        raise NotShown(f"expected {expected}; seen: {seen}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _print_logs(deployed: Deployment) -> None:
    for arguments in (("ps",), ("logs", "--no-color", "--tail", "20")):
        try:
            print(deployed.compose(*arguments), file=sys.stderr)
        except CommandFailed as error:
            print(error, file=sys.stderr)


def run() -> None:
    """The whole test: DockerUnavailable where it cannot run, NotShown or CommandFailed where it fails."""
    report = Report()
    with docker() as daemon:
        images = base_images(daemon)
        report.say(f"Docker answers; base images: {images.note}")
        with deployment(daemon, images) as deployed:
            show(deployed, report)
    report.say(f"passed: {MESSAGES} of {MESSAGES} handled with a worker container killed, none lost")


def main() -> int:
    # `timeout` and CI stop a script with SIGTERM; it must clean up as it does at Ctrl-C.
    signal.signal(signal.SIGTERM, _stop)
    try:
        run()
    except DockerUnavailable as reason:
        print(f"SKIPPED, NOTHING WAS TESTED: {reason}", file=sys.stderr)
        return SKIPPED
    except (NotShown, CommandFailed) as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    return 0


def _stop(signal_number: int, frame: FrameType | None) -> None:
    sys.exit(128 + signal_number)


if __name__ == "__main__":
    sys.exit(main())
