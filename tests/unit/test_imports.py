"""What is slow to import is imported at one boundary: a process that needs it not does not wait for it."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import memsched

SLOW = ("qdrant_client", "openai", "numpy", "onnxruntime", "mcp", "langgraph", "fastapi")
LIGHT_ROOMS = ("policy", "mos", "worker", "queue", "broker", "console", "memory.access", "cli")
LIGHT_MODULES = (
    "memsched.scheduler",
    "memsched.process",
    "memsched.handlers",
    "memsched.handlers.lazy_services",
    "memsched.memory.model",
    "memsched.memory.search.arguments",
    "memsched.memory.store.errors",
    "memsched.tiers.hot_state",
)


def modules_of(room: str) -> list[str]:
    package = f"memsched.{room}"
    path = pkgutil.resolve_name(package).__path__
    return [package, *(found.name for found in pkgutil.walk_packages(path, f"{package}."))]


HEAVY = {f"memsched.policy.{name}" for name in ("value", "themes", "theme_cache", "running_theme")}
HEAVY |= {f"memsched.cli.eval_{name}" for name in ("locomo", "prefix", "stories")}
LIGHT = sorted({*LIGHT_MODULES, *(name for room in LIGHT_ROOMS for name in modules_of(room))} - HEAVY)

ASK = f"""
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    for slow in {SLOW!r}:
        if slow in sys.modules:
            print(name, slow)
            sys.exit()
"""


def slow_imports_of(*names: str) -> str:
    asked = subprocess.run([sys.executable, "-c", ASK, *names], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


def test_modules_that_every_process_imports_import_nothing_slow() -> None:
    assert len(LIGHT) > 40
    assert slow_imports_of(*LIGHT) == "", "the first module, after those before it in the alphabet, and what it loads"


@pytest.mark.parametrize("name", ["memsched.scheduler", "memsched.mos.sync", "memsched.process", "memsched.cli.app"])
def test_a_face_can_be_imported_first_and_alone(name: str) -> None:
    assert slow_imports_of(name) == ""


def test_the_names_of_the_package_are_there_without_what_is_slow() -> None:
    asked = "import sys, memsched; [getattr(memsched, name) for name in memsched.__all__]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()

    assert not set(SLOW) & set(loaded)
    assert memsched.__all__


def test_a_process_that_starts_compiles_no_pattern_of_secrets() -> None:
    asked = (
        "import gc, memsched.process; from memsched.lazy_pattern import LazyPattern;"
        "found = [each for each in gc.get_objects() if isinstance(each, LazyPattern)];"
        "print(len(found), sum('compiled' in vars(each) for each in found))"
    )
    answer = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()

    patterns, compiled = map(int, answer)
    assert patterns > 100
    assert compiled == 0
