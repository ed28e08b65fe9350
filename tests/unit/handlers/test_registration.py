"""memsched's own labels: their rules, their functions, and a handler of the user's own in the place of one."""

from __future__ import annotations

from support.services import lazy_services

from memsched import ScheduleMessageItem
from memsched.handlers.registration import RULES, register_memory_handlers
from memsched.handlers.table import FUNCTIONS
from memsched.worker.handlers import Orchestrator


def test_every_label_with_a_rule_has_a_function_of_its_name() -> None:
    assert {label: function.__name__ for label, function in FUNCTIONS.items()} == {label: label for label in RULES}


def test_a_handler_of_the_users_own_keeps_its_place() -> None:
    def own(_: list[ScheduleMessageItem]) -> None: ...

    services = lazy_services()
    orchestrator = Orchestrator(services.settings)
    orchestrator.register({"add": own})

    register_memory_handlers(orchestrator, services)

    assert orchestrator.handlers["add"].function is own
    assert orchestrator.handlers.keys() == RULES.keys()
    for label in RULES.keys() - {"add"}:
        assert orchestrator.priority(label) == RULES[label].priority


async def test_the_functions_are_loaded_when_a_label_is_first_handled() -> None:
    assert await lazy_services().function("query") is FUNCTIONS["query"]
