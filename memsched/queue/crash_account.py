"""The crash account of a message: how many workers died while they ran it, and so whether it is a poison message.

A crash counts when the worker is known to be dead (its supervisor saw it, or its registration ran out) and had written
that it begins with the message (begin.lua): on the *second* run and later. The first death that a message sees is
nobody's, because nobody can tell which of all that the worker held was the cause. The count is the delivery count in
the pending list, above one: it needs no state of its own, and outlives whatever the message outlives.

All that ran in a dead worker are counted, the killer and the innocent. So a message with one crash left is on *trial*:
no other message on trial runs beside it, and nothing starts beside it in its first moments
(memsched/worker/isolation.py). Only a death on trial is the last one; any other takes a message no further than to its
trial, however often it happens.
"""

from __future__ import annotations


def crashes_of(delivery_count: int) -> int:
    """How many deaths of its worker are counted for an entry."""
    return max(0, delivery_count - 1)


def trial_at(max_crashes: int) -> int:
    """The number of crashes from which on a message runs on trial. One is needed at least, to suspect anything."""
    return max(1, max_crashes - 1)
