"""Spans of time that users give: understood or refused at the call, never found odd later."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from typing import TypeAlias

from memsched.errors import InvalidArgument

Seconds: TypeAlias = float | timedelta | Decimal
"""So many seconds: a number, or a timedelta."""

LONGEST_DAYS = 366
_LONGEST_SECONDS = LONGEST_DAYS * 86_400.0


def seconds_of(name: str, given: Seconds) -> float:
    """The argument ``name`` in seconds. Raises InvalidArgument for what is no span of time, or endless, or negative."""
    if isinstance(given, timedelta):
        seconds = given.total_seconds()
    elif isinstance(given, bool) or not isinstance(given, int | float | Decimal):
        raise InvalidArgument(name, given, "expected seconds as a number, or a timedelta")
    else:
        try:
            seconds = float(given)
        except (OverflowError, ValueError):  # an int of 400 digits, a signalling NaN
            seconds = math.inf
    if not 0 <= seconds <= _LONGEST_SECONDS:  # nor is NaN
        raise InvalidArgument(name, given, f"expected 0 to {_LONGEST_SECONDS:,.0f} seconds ({LONGEST_DAYS} days)")
    return seconds


def seconds_or_none(name: str, given: Seconds | None) -> float | None:
    """As ``seconds_of``; None is no limit."""
    return None if given is None else seconds_of(name, given)
