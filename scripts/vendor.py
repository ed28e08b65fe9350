"""Fetch what the dashboard's pages are made with: htmx, its SSE extension, uPlot and Pico CSS.

    python scripts/vendor.py            fetch the versions of the manifest and check every file (`make vendor`)
    python scripts/vendor.py --renew    take the versions that the manifest names, and note their checksums anew

They come from npm's registry by name and version (`npm pack`), and stand in the repository with their licences: the
service asks nobody else for a file. For another version, change it in static/vendor/manifest.json and renew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "memsched" / "service" / "dashboard" / "static" / "vendor"
_RULE = "=" * 78


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renew", action="store_true", help="note the checksums of what is fetched")
    renew = parser.parse_args().renew
    manifest = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    fetched = {name: _fetched(name, package) for name, package in manifest.items()}
    wrong = [] if renew else _otherwise(manifest, fetched)
    if wrong:
        print("Not what the manifest says, so nothing was written:", *wrong, sep="\n  ", file=sys.stderr)
        return 1
    for name, package in manifest.items():
        for member, file in package["files"].items():
            (FOLDER / file["name"]).write_bytes(fetched[name][member])
            file["sha256"] = _sha256(fetched[name][member])
        package["license"]["sha256"] = _sha256(fetched[name][package["license"]["file"]])
    (FOLDER / "LICENSES").write_text(_licenses(manifest, fetched), encoding="utf-8")
    (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    print(f"{sum(each.stat().st_size for each in FOLDER.iterdir()):,} bytes in {FOLDER}")
    return 0


def _fetched(name: str, package: dict[str, Any]) -> dict[str, bytes]:
    """The files of a package that the manifest names, by their paths in it."""
    with tempfile.TemporaryDirectory() as folder:
        asked = ["npm", "pack", "--silent", "--ignore-scripts", f"{name}@{package['version']}"]
        packed = subprocess.run(asked, cwd=folder, check=True, capture_output=True, text=True).stdout.split()[-1]
        with tarfile.open(Path(folder) / packed) as archive:
            return {path: _read(archive, path) for path in (*package["files"], package["license"]["file"])}


def _read(archive: tarfile.TarFile, path: str) -> bytes:
    member = archive.extractfile(f"package/{path}")
    if member is None:
        raise SystemExit(f"{path} is no file of the package.")
    return member.read()


def _otherwise(manifest: dict[str, Any], fetched: dict[str, dict[str, bytes]]) -> list[str]:
    """The files that have other checksums."""
    told = {
        (name, path): file["sha256"]
        for name, package in manifest.items()
        for path, file in (*package["files"].items(), (package["license"]["file"], package["license"]))
    }
    return [f"{name}: {path}" for (name, path), sha256 in told.items() if _sha256(fetched[name][path]) != sha256]


def _licenses(manifest: dict[str, Any], fetched: dict[str, dict[str, bytes]]) -> str:
    parts = []
    for name, package in manifest.items():
        text = fetched[name][package["license"]["file"]].decode("utf-8").strip()
        parts.append(f"{name} {package['version']} ({package['license']['spdx']})\n{_RULE}\n{text}\n")
    return "\n\n".join(parts)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
