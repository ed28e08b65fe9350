"""What scripts for the original system read of a scheduler, under its names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any, Self

from memsched.config_file import YAML_NAMES
from memsched.settings import Settings, masked


class AwaitableText(str):
    """A text that is there at once, and may be awaited as well."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, str]:
        yield from ()
        return str(self)


class SchedulerConfig:
    """``scheduler.config``: the settings, under the original's names and under their own; read only.

    ``config.thread_pool_max_workers``, ``config["top_k"]`` and ``config.get("use_redis_queue")`` are all understood.
    """

    def __init__(self, settings: Settings) -> None:
        values = settings.model_dump()
        values |= {name: masked(values[name]) for name in values if name.endswith("_url")}
        values |= {theirs: values[ours] for theirs, ours in YAML_NAMES.items()}
        values["use_redis_queue"] = uses_redis(settings)
        values["enable_parallel_dispatch"] = settings.concurrency > 1
        values["consume_interval_seconds"] = 0.0  # memsched waits at the server instead of polling
        self._values = values

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"there is no setting {name!r}; `memsched config` lists all") from None

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._values})

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)

    def model_dump(self) -> dict[str, Any]:
        return dict(self._values)

    def __repr__(self) -> str:
        return f"SchedulerConfig({', '.join(f'{name}={value!r}' for name, value in sorted(self._values.items()))})"


class OriginalNames(ABC):
    """The part of both faces that is there for scripts of the original's users."""

    settings: Settings

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether handlers run in this process."""

    @property
    def _running(self) -> bool:
        return self.running

    @property
    def config(self) -> SchedulerConfig:
        """The settings, under the original's names too."""
        return SchedulerConfig(self.settings)

    @property
    def use_redis_queue(self) -> bool:
        """Whether the queue is on a server, rather than inside this process (memory://)."""
        return uses_redis(self.settings)

    @property
    def dispatcher(self) -> Self:
        """The original's place of ``register_handlers``; here the scheduler itself has it."""
        return self


def uses_redis(settings: Settings) -> bool:
    return not settings.redis_url.startswith("memory://")
