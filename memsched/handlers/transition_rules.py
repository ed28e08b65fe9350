"""The transition rules of this process: memsched's own, or those of an installed package."""

from __future__ import annotations

from importlib.metadata import entry_points

from memsched.errors import SettingsError
from memsched.policy.transitions import StandardTransitions, TransitionRules
from memsched.settings import Settings

GROUP = "memsched.transitions"


def rules_from(settings: Settings) -> TransitionRules:
    """What MEMSCHED_TRANSITIONS names: an entry point that is called with the settings. Raises SettingsError."""
    if not settings.transitions:
        return standard_rules(settings)
    found = entry_points(group=GROUP)
    if settings.transitions not in found.names:
        known = ", ".join(sorted(found.names)) or "none"
        what = f"MEMSCHED_TRANSITIONS={settings.transitions!r}: no installed package has it in its entry points"
        raise SettingsError([f"{what} ({GROUP}: {known})."])
    rules: TransitionRules = found[settings.transitions].load()(settings)
    return rules


def standard_rules(settings: Settings) -> StandardTransitions:
    return StandardTransitions(archive_after_days=settings.archive_after_days, capacity=settings.long_term_capacity)
