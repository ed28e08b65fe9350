"""What pages are made with: unchanged from where it comes, small, and nothing that the browser's policy forbids."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from memsched.service.dashboard.static_files import FILES, FOLDER, STATIC_PATH, static_url

ROOT = Path(__file__).parents[3]
VENDOR = FOLDER / "vendor"
MANIFEST = json.loads((VENDOR / "manifest.json").read_text(encoding="utf-8"))
TEMPLATES = sorted((FOLDER.parent / "templates").glob("*.html"))


def test_vendored_files_are_those_of_the_manifest() -> None:
    told = {file["name"]: file["sha256"] for package in MANIFEST.values() for file in package["files"].values()}
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in VENDOR.iterdir()}
    licenses = (VENDOR / "LICENSES").read_text(encoding="utf-8")

    assert {**told, "LICENSES": found["LICENSES"], "manifest.json": found["manifest.json"]} == found
    assert all(
        f"{name} {package['version']} ({package['license']['spdx']})" in licenses for name, package in MANIFEST.items()
    )


def test_pages_stay_small() -> None:
    vendored = sum(each.stat().st_size for each in VENDOR.iterdir() if each.name in FILES)
    program = (FOLDER / "memsched.js").read_text(encoding="utf-8")

    assert vendored <= 181_000
    assert len(program.splitlines()) < 150


def test_templates_hold_nothing_that_the_policy_forbids() -> None:
    """No program and no style in the page, nothing that htmx would evaluate, nothing from elsewhere."""
    forbidden = re.compile(
        r"<style|<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=|hx-on|js:|javascript:|hx-trigger=\"[^\"]*\[|(?:src|href)=\"(?:https?:)?//"
    )
    found = {each.name: forbidden.findall(each.read_text(encoding="utf-8")) for each in TEMPLATES}

    assert found
    assert not any(found.values()), found


def test_the_wheel_has_all_of_it() -> None:
    builder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    shipped = {each.relative_path for each in builder.recurse_included_files()}

    found = {each for each in FOLDER.parent.rglob("*") if each.is_file() and each.suffix != ".pyc"}
    assert {str(each.relative_to(ROOT)) for each in found} <= shipped


def test_an_address_changes_with_its_content() -> None:
    digest = hashlib.sha256(FILES["memsched.css"].content).hexdigest()[:12]

    assert static_url("memsched.css") == f"{STATIC_PATH}{digest}/memsched.css"
    assert {each.media_type for each in FILES.values()} == {"text/css", "text/javascript", "image/svg+xml"}
