"""`memsched live`: the healthcheck of a container."""

from __future__ import annotations

import typer

from memsched.cli.exit_codes import complain
from memsched.console.terminal import duration
from memsched.escaping import plain
from memsched.settings import Settings
from memsched.worker.healthcheck import liveness_dir, read_liveness


def live() -> None:
    """Say whether the workers of this machine live: exit code 0 if all do, 1 if one does not or there is none.

    A worker lives when its read loop had a successful call at the server within MEMSCHED_LIVENESS_SECONDS.
    Nothing is asked from the server here: each worker keeps a file in the folder MEMSCHED_LIVENESS_DIR.
    """
    settings = Settings.load()
    reports = read_liveness(settings)
    for report in reports:
        if not report.alive:
            complain(
                f"worker {plain(report.worker_id)} had no successful call for {duration(report.age_seconds)} "
                f"(limit: MEMSCHED_LIVENESS_SECONDS={settings.liveness_seconds:g})."
            )
    if not reports:
        complain(f"no worker runs here: no sign of life in {plain(str(liveness_dir(settings)))}.")
    if not reports or not all(report.alive for report in reports):
        raise typer.Exit(1)
    oldest = max(report.age_seconds for report in reports)
    typer.echo(f"{len(reports)} live worker{'s' * (len(reports) != 1)}, last call {duration(oldest)} ago")
