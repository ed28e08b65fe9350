"""Context binding: which memories belong to a role or a task, and how many of each cube its working set holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from memsched.extensions import extension
from memsched.memory.context_tags import tags_of


@dataclass(frozen=True, slots=True)
class Context:
    """In which role and for which task a set is asked for; "" for none."""

    role: str = ""
    task: str = ""

    @property
    def tags(self) -> frozenset[str]:
        """What a memory is tagged with that is bound to it."""
        return frozenset(tags_of({"role": self.role, "task": self.task}))


class ContextBinding(Protocol):
    """Decides which memories belong to a context, and how many places each cube has in its set.

    Must be a pure function of its arguments, as a strategy.
    """

    def rank(self, bound_to: frozenset[str], context: Context) -> int | None:
        """In which order memories come that are bound to these tags, the lowest first; None: not at all."""

    def places(self, bound: Mapping[str, int], size: int) -> Mapping[str, int]:
        """How many of ``size`` places each cube has at most; a cube that is not named has none.

        Args:
            bound: by the user's name of a cube, how many of its memories have rank 0; the cube that was asked for is
                the first, the others are all that the user may read.
        """


class StandardBinding:
    """What is bound to the context, then what is bound to nothing; never what is bound to another role or task."""

    def rank(self, bound_to: frozenset[str], context: Context) -> int | None:
        if not bound_to:
            return 1
        return 0 if bound_to <= context.tags else None

    def places(self, bound: Mapping[str, int], size: int) -> Mapping[str, int]:
        """Half of the places are for the other cubes that have something bound to the context, in equal shares."""
        first, *others = bound
        having = [name for name in others if bound[name]]
        shares = {name: min(bound[name], max(1, size // 2 // len(having))) for name in having[: size // 2]}
        return {first: size - sum(shares.values()), **shares}


def binding_named(name: str) -> ContextBinding:
    """The binding that MEMSCHED_BINDING names. Raises SettingsError."""
    shipped = {"standard": StandardBinding}
    found = extension("MEMSCHED_BINDING", "memsched.bindings", name, ("rank", "places"), shipped)
    return cast("ContextBinding", found)
