"""L2 normalisation: rows of numbers from a model as the vectors that are stored, finite and short in JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memsched.memory.embedding.embedder import EmbeddingError

_DECIMALS = 7
"""float32 has no more to say of a number below 1, and seven digits make half the JSON of seventeen."""


class NotFinite(EmbeddingError):
    """The embedding model did not give vectors."""


def unit_rows(rows: Any) -> NDArray[Any]:
    """Return the rows as float32, each of length 1; a row of zeros stays one, and one that is not finite becomes one.

    Raises EmbeddingError when they are not rows of as many numbers each, NotFinite when no row is finite.

    Args:
        rows: [texts, dimensions].
    """
    try:
        matrix = np.array(rows, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise EmbeddingError("It gave something else than vectors of numbers.", temporary=False) from error
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise EmbeddingError("It gave vectors of different or no dimensions.", temporary=False)
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.any():
        raise NotFinite("It gave a vector that is not finite.", temporary=False)
    matrix[~finite] = 0
    # Divided by the largest first: the squares of very large or small numbers would be infinite or zero.
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    matrix = matrix / np.where(largest == 0, 1, largest)
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return (matrix / np.where(lengths == 0, 1, lengths)).astype(np.float32)


def as_lists(rows: NDArray[Any]) -> list[list[float]]:
    """Return float32 rows as Python numbers: the same for the same row, wherever it was kept meanwhile."""
    lists: list[list[float]] = np.round(rows.astype(np.float64), _DECIMALS).tolist()
    return lists
