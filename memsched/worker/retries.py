"""Retries: whether a message that failed runs again, and after what delay, or is given up.

Each kind of failure has a budget of its own. Those that failed together do not come back together: the delay is an
exponential backoff with full jitter.
"""

from __future__ import annotations

from typing import TypeGuard

from memsched.backoff import backoff
from memsched.errors import ServerRefused, ServerUnreachable, UnreachableError
from memsched.escaping import describe_error
from memsched.logs import exception_field, get_logger, log_fields
from memsched.queue.crash_account import trial_at
from memsched.queue.delivery import Delivery
from memsched.queue.outcomes import GiveUp, Retry
from memsched.settings import Settings
from memsched.worker.context import Decision

log = get_logger(__name__)


_MOST_CAUSES = 10
"""Of an error that are looked at; they can form a ring."""


def is_servers_trouble(error: BaseException | None) -> TypeGuard[BaseException]:
    """Whether a handler failed because the server could not be reached or refused: that is no message's fault."""
    for _ in range(_MOST_CAUSES):
        if isinstance(error, ServerUnreachable | ServerRefused | UnreachableError):
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(map(is_servers_trouble, error.exceptions))
        error = error.__cause__ if error is not None else None
    return False


class RetryPolicy:
    """Decides about messages that failed, within their budgets."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._budgets = {"errors": settings.max_errors, "timeouts": settings.max_timeouts}

    def after_failure(self, delivery: Delivery, kind: str, error: BaseException) -> Retry | GiveUp:
        """What becomes of a message whose handler failed.

        Args:
            kind: ``errors`` or ``timeouts``: which budget the failure uses up.
        """
        attempts = delivery.attempts
        attempts[kind] += 1
        text = describe_error(error)
        if attempts[kind] > self._budgets[kind]:
            log.error(
                "a message failed too often; it goes to the dead letters",
                action="message.dead",
                reason=kind,
                **log_fields(delivery.message),
                error=text,
                attempts=attempts,
                **exception_field(error),
            )
            return GiveUp(delivery, kind, text, attempts)
        delay_ms = self.delay_ms(attempts[kind])
        log.warning(
            "a message failed; it runs again",
            action="message.retried",
            reason=kind,
            **log_fields(delivery.message),
            error=text,
            attempts=attempts,
            delay_ms=delay_ms,
            **exception_field(error if attempts[kind] == 1 else None),
        )
        return Retry(delivery, delay_ms, attempts, text)

    def after_servers_trouble(self, delivery: Delivery, error: BaseException) -> Retry:
        """A message whose handler asked something of the server, which could not or would not: no budget counts."""
        attempts = delivery.attempts
        attempts["deferrals"] += 1
        delay_ms = self.delay_ms(attempts["deferrals"])
        text = describe_error(error)
        log.warning(
            "the server would not do what a message needs; it runs again, and it is not counted as a failure",
            action="message.put_off",
            **log_fields(delivery.message),
            error=text,
            delay_ms=delay_ms,
        )
        return Retry(delivery, delay_ms, attempts, text)

    def delay_ms(self, failures: int) -> int:
        """The delay of a retry: exponential backoff with full jitter, its bound doubled with each failure."""
        return round(backoff(failures - 1, base=self._settings.retry_base_ms, cap=self._settings.retry_cap_ms))

    def as_decided(self, delivery: Delivery, decision: Decision) -> Retry | GiveUp:
        """What becomes of a message about which its handler decided (``ctx.retry``, ``ctx.fail``): no budget counts."""
        attempts = delivery.attempts
        if decision.delay_ms is None:
            log.error(
                "the handler gave a message up; it goes to the dead letters",
                action="message.dead",
                reason="rejected",
                **log_fields(delivery.message),
                error=decision.error,
            )
            return GiveUp(delivery, "rejected", decision.error, attempts)
        attempts["deferrals"] += 1
        return Retry(delivery, decision.delay_ms, attempts, decision.error)

    def is_poison(self, delivery: Delivery) -> bool:
        """Whether a message that was claimed is a poison message: its worker died while it ran on trial."""
        return delivery.count > 1 and delivery.crashes > trial_at(self._settings.max_crashes)

    def after_expiry(self, delivery: Delivery) -> GiveUp:
        """A message whose ``expires_at`` is past is given up."""
        error = f"it was to be started by {delivery.message.expires_at}"
        log.error(
            "a message has expired; it goes to the dead letters",
            action="message.dead",
            reason="expired",
            **log_fields(delivery.message),
            error=error,
        )
        return GiveUp(delivery, "expired", error, delivery.attempts)

    def after_crashes(self, delivery: Delivery) -> GiveUp:
        """A poison message is given up."""
        attempts = delivery.attempts
        error = f"its process died {attempts['crashes']} times while it ran, the last time on trial, apart from others"
        log.error(
            "a message whose process died too often goes to the dead letters",
            action="message.dead",
            reason="crashes",
            **log_fields(delivery.message),
            error=error,
        )
        return GiveUp(delivery, "crashes", error, attempts)
