"""What is answered for errors of the library."""

from __future__ import annotations

from memsched.memory.embedding.embedder import EmbeddingError
from memsched.service.problems import problem_of


class _Inner(EmbeddingError):
    """The embedding model did not give vectors."""


def test_a_problem_is_named_by_a_class_that_the_documentation_has() -> None:
    assert problem_of(_Inner("x", temporary=True)).kind == "EmbeddingError"
