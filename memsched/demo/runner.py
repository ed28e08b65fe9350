"""The demo from its first message to its report.

Two users' messages go through a server of the demo's own to several worker processes. In the middle one worker is
killed, as an operating system kills: without a warning. The report says what became of each message, from evidence
that does not depend on the workers' word.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memsched.connection import Server
from memsched.demo.crew import Crew, DemoFailed, Kill
from memsched.demo.evidence import Evidence, read_counts, read_recoveries, read_runs
from memsched.demo.handlers import COUNT_LABEL, LABEL
from memsched.demo.stage import Stage
from memsched.demo.teardown import end_server
from memsched.embedded.binary import BINARY_VARIABLE
from memsched.keys import Keys
from memsched.messages import ScheduleMessageItem
from memsched.queue.status import Counts, Status, read_status
from memsched.queue.submit import Producer
from memsched.settings import ORIGINAL_SWITCHES, PREFIX, Settings

USERS = ("alice", "bob")
_KILL_AT = 0.4
_CALLS_AT_ONCE = 4
_BATCH = 2
_LONGEST_SLEEP_SECONDS = 0.25
_WORK_SECONDS = 4.0
_START_SECONDS = 20.0
_PATIENCE_SECONDS = 40.0
_LOOK_SECONDS = 0.03
_ORPHANS_SECONDS = 1.0
