"""The two images that the deployment starts from: the real ones, or stand-ins made of Debian packages.

A machine without a way to an image registry can still show that the Dockerfile and the compose file work:
debootstrap makes a small Debian with Python and redis-server, and that image plays both parts. It receives
this machine's settings for fetching packages (index, proxy, certificates), read at test time, so that
`docker build` works inside it as pip does outside.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import ssl
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from docker_daemon import CommandFailed, Docker, DockerUnavailable, run

ROOT = Path(__file__).parents[2]

PULL_SECONDS = 300.0
DEBOOTSTRAP_SECONDS = 900.0
PACKAGES = "ca-certificates,python3,python3-venv,redis-server"
REDIS_UID = 999  # as in docker-compose.yml
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

# What pip must know to fetch a package; the rest of its settings is taste, or about this machine only.
PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")


@dataclass(frozen=True)
class BaseImages:
    python: str
    redis: str
    note: str
    made: tuple[str, ...] = ()  # to be removed when the test is over


def base_images(docker: Docker) -> BaseImages:
    """The names to give as PYTHON_IMAGE and REDIS_IMAGE; the daemon has both images afterwards."""
    python = os.environ.get("PYTHON_IMAGE") or _default("PYTHON_IMAGE", in_file="Dockerfile")
    redis = os.environ.get("REDIS_IMAGE") or _default("REDIS_IMAGE", in_file="docker-compose.yml")
    missing = [name for name in (python, redis) if not _obtained(docker, name)]
    if not missing:
        return BaseImages(python, redis, "the real ones")
    release = _debian_release()
    standin_python, standin_redis = f"memsched-standin-python:{release}", f"memsched-standin-redis:{release}"
    _make_standins(docker, release, (standin_python, standin_redis))
    return BaseImages(
        standin_python if python in missing else python,
        standin_redis if redis in missing else redis,
        f"a stand-in made by debootstrap, for {' and '.join(missing)} cannot be pulled",
        (standin_python, standin_redis),
    )


def _default(name: str, *, in_file: str) -> str:
    found = re.search(rf"{name}(?::-|=)([^}}\s]+)", (ROOT / in_file).read_text())
    if found is None:
        raise AssertionError(f"{in_file} has no default for {name}")
    return found[1]


def _obtained(docker: Docker, name: str) -> bool:
    if docker.has_image(name):
        return True
    try:
        docker.run("pull", "--quiet", name, timeout=PULL_SECONDS)
    except CommandFailed:
        return False
    return True


def _debian_release() -> str:
    facts = Path("/etc/os-release")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME=")]
    if shutil.which("debootstrap") is None or not names:
        raise DockerUnavailable(
            "the base images cannot be pulled, and without Debian's debootstrap no stand-in can be made"
        )
    if os.geteuid() != 0:
        raise DockerUnavailable("the base images cannot be pulled, and only root can make a stand-in")
    return names[0]


def _make_standins(docker: Docker, release: str, names: tuple[str, str]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="memsched-standin-"))
    root = folder / "root"
    try:
        _debootstrap(release, root)
        _give_network_settings(root)
        _give_redis_the_ways_of_its_image(root)
        archive = folder / "root.tar"
        run(("tar", "-C", str(root), "-cf", str(archive), "."), environment=os.environ, timeout=300)
        docker.run("import", str(archive), names[0], timeout=300)
        docker.run("tag", names[0], names[1])
    finally:
        shutil.rmtree(folder)


def _debootstrap(release: str, root: Path) -> None:
    mirror, components = _package_source(release)
    command = (
        # In namespaces of its own: its mounts are never ours to clean up, and no process of it outlives it.
        *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"),
        *("debootstrap", "--variant=minbase", f"--include={PACKAGES}", f"--components={components}"),
        *(release, str(root), *([mirror] if mirror else [])),
    )
    try:
        run(command, environment=os.environ, timeout=DEBOOTSTRAP_SECONDS)
    except CommandFailed as error:
        raise DockerUnavailable(f"debootstrap made no stand-in for the base images: {error}") from error


def _package_source(release: str) -> tuple[str | None, str]:
    """This machine's mirror of the release, and its components; None leaves the choice to debootstrap."""
    wanted = ("--format", "$(RELEASE) $(REPO_URI) $(COMPONENT)", "Created-By: Packages")
    try:
        listed = run(("apt-get", "indextargets", *wanted), environment=os.environ, timeout=60)
    except CommandFailed:
        return None, "main"
    sources = [fields for line in listed.splitlines() if len(fields := line.split()) == 3 and fields[0] == release]
    if not sources:
        return None, "main"
    mirror = sources[0][1]
    return mirror, ",".join(dict.fromkeys(component for _, uri, component in sources if uri == mirror))


def _give_redis_the_ways_of_its_image(root: Path) -> None:
    """A folder for the data that its user may write, and a server that answers other containers."""
    data = root / "data"
    data.mkdir()
    os.chown(data, REDIS_UID, REDIS_UID)
    # The Redis and Valkey images have protected mode off in the program itself; Debian's package has it on.
    server = root / "usr/local/bin/redis-server"
    server.write_text('#!/bin/sh\nexec /usr/bin/redis-server "$@" --protected-mode no\n')
    server.chmod(0o755)


def _give_network_settings(root: Path) -> None:
    settings = _pip_settings()
    certificates = settings.get("cert") or os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if certificates and Path(certificates).is_file():
        shutil.copyfile(certificates, root / CERTIFICATES.lstrip("/"))
    configuration = configparser.RawConfigParser()
    configuration["global"] = {"cert": CERTIFICATES}
    for name in PIP_KEYS:
        # A folder of this machine is not in the image: an index or a find-links given as file:// is left out.
        values = [value for value in settings.get(name, "").split() if not value.startswith(("file:", "/"))]
        if values:
            configuration["global"][name] = " ".join(values)
    with (root / "etc/pip.conf").open("w") as file:
        configuration.write(file)


def _pip_settings() -> dict[str, str]:
    """What `pip config list` says on this machine; the environment's word comes last, for it wins."""
    for python in (sys.executable, shutil.which("python3") or "python3"):
        try:
            listed = run((python, "-m", "pip", "config", "list"), environment=os.environ, timeout=60)
        except CommandFailed:
            continue
        lines = sorted(listed.splitlines(), key=lambda line: line.startswith(":env:"))
        found = (re.fullmatch(r"(?:global|user|download|install|:env:)\.([a-z-]+)='(.*)'", line) for line in lines)
        return {match[1]: match[2] for match in found if match}
    return {}
