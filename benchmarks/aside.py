"""Which cases were kept aside while a rule was made."""

from __future__ import annotations

import hashlib

_ASIDE = 3
"""One in so many."""


def is_aside(case_id: str) -> bool:
    """By a hash of its id: the same cases always."""
    return int.from_bytes(hashlib.sha256(case_id.encode()).digest()[:4], "big") % _ASIDE == 0
