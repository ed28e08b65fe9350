"""The crash account of a message: how many workers it may have killed, and so whether it is a poison message.

The account is the message's delivery count in the pending list: it needs no state of its own, and outlives whatever
the message outlives. crash_account.lua changes it, this module reads it, and nothing else knows the numbers:

==========  ========================================================================================================
count       the message
==========  ========================================================================================================
1           is new: it waits in its worker, or runs for the first time
even        waits after a crash, a suspect; half of it is the number of crashes that it may have caused
odd         is on probation: it runs as the only suspect, and nothing else has just started. If its worker dies, that
            counts as one crash more
100 + odd   runs beside others that may be to blame. If its worker dies, nobody can tell which one it was: none is
            blamed, but each waits in isolation from then on
100 + even  waits in isolation: it starts when no other suspect runs
200 + odd   is on probation, in isolation
200 + even  waits in isolation, after that; the even part counts the crashes, as above
==========  ========================================================================================================

So a message that kills its worker is known, mostly after two deaths; those that died with it are not taken for it;
and slow innocent ones do not wait for each other: the probation of one that has run for a moment ends, and others
start beside it.
"""

from __future__ import annotations

_BESIDE_OTHERS = 100


def is_suspect(count: int) -> bool:
    """Whether a worker died while the message was there: it may have been the cause."""
    return count >= 2


def needs_isolation(count: int) -> bool:
    """Whether the message is a suspect whose worker died while other suspects ran: it must start without any."""
    return count >= _BESIDE_OTHERS


def crashes(count: int) -> int:
    """How many crashes the message may have caused."""
    return count % _BESIDE_OTHERS // 2
