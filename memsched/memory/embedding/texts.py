"""Texts from strangers, made fit for a model: valid Unicode, not too long, in batches of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def cut(text: str, max_bytes: int) -> str:
    """The text as valid Unicode, and its beginning if its UTF-8 is longer than max_bytes."""
    encoded = text.encode("utf-8", "replace")  # half a surrogate pair cannot be sent
    return encoded[:max_bytes].decode("utf-8", "ignore")


def batches(texts: Sequence[str], most: int, max_bytes: int) -> Iterator[list[str]]:
    """The texts in order, in lists of at most ``most`` texts and max_bytes of UTF-8 (or one text)."""
    batch: list[str] = []
    size = 0
    for text in texts:
        length = len(text.encode("utf-8", "replace"))
        if batch and (len(batch) == most or size + length > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += length
    if batch:
        yield batch
