"""The container files: a cheap check that always runs, and the deployment itself, which is asked for."""

from __future__ import annotations

import os
import re
import subprocess

import docker_compose
import pytest
import yaml
from docker_daemon import DockerUnavailable, clean_environment, compose_command

from memsched.settings import PREFIX, Settings


def test_compose_accepts_the_compose_file() -> None:
    command = compose_command()
    if command is None:
        pytest.skip("neither a `docker compose` plugin nor a `docker-compose` command is installed")

    checked = subprocess.run(
        [*command, "--file", "docker-compose.yml", "config", "-q"],
        cwd=docker_compose.ROOT,
        env=clean_environment(),
        text=True,
        capture_output=True,
        timeout=60,
    )

    assert checked.returncode == 0, checked.stderr


def test_the_compose_file_passes_every_setting_on_and_no_other() -> None:
    services = yaml.safe_load((docker_compose.ROOT / "docker-compose.yml").read_text())["services"]

    passed_on = {name for name in services["worker"]["environment"] if name.startswith(PREFIX)}

    assert passed_on == {PREFIX + name.upper() for name in Settings.model_fields}


def test_both_container_files_name_the_same_python() -> None:
    dockerfile = (docker_compose.ROOT / "Dockerfile").read_text()
    services = yaml.safe_load((docker_compose.ROOT / "docker-compose.yml").read_text())["services"]

    in_dockerfile = re.findall(r"^ARG PYTHON_IMAGE=(\S+)", dockerfile, re.MULTILINE)

    assert services["worker"]["build"]["args"]["PYTHON_IMAGE"] == f"${{PYTHON_IMAGE:-{in_dockerfile[0]}}}"


@pytest.mark.timeout(1800)
def test_a_killed_worker_container_loses_no_message() -> None:
    if os.environ.get("E2E_DOCKER") != "1":
        pytest.skip("takes minutes and builds images: E2E_DOCKER=1, or python tests/e2e/docker_compose.py")
    try:
        docker_compose.run()
    except DockerUnavailable as reason:
        pytest.skip(f"NOTHING WAS TESTED, Docker cannot run here: {reason}")
