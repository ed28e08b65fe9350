"""How the errors of a language model explain themselves."""

from __future__ import annotations

import inspect

import pytest

from memsched.errors import MemschedError
from memsched.llm import errors


def kinds() -> list[type[MemschedError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.LLMError)]


@pytest.mark.parametrize("kind", kinds())
def test_every_error_explains_itself(kind: type[errors.LLMError]) -> None:
    assert len(kinds()) == 5
    error = kind("Because.")

    assert str(error).endswith(" Because.")
    assert len(str(error)) > 25
    assert "retry_after" not in str(error)
    assert error.reason == "Because."
