"""Texts as the numbers of their tokens, by the tokenizer of a model's folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memsched.memory.embedding.model_folder import ModelFolder, unusable
from memsched.memory.embedding.texts import cut

_BYTES_PER_TOKEN = 32
"""No language has so many on average; what is beyond would be taken apart only to be thrown away."""


class Tokens:
    """Raises SettingsError when the tokenizer's file cannot be read."""

    def __init__(self, folder: ModelFolder) -> None:
        self._tokenizer = _tokenizer(folder)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(folder.max_tokens)
        self._max_bytes = folder.max_tokens * _BYTES_PER_TOKEN
        self._lowercase = folder.lowercase

    def of(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text's tokens, with the special ones, at most the folder's max_tokens."""
        texts = [cut(text, self._max_bytes) for text in texts]
        if self._lowercase:
            texts = [text.lower() for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]


def _tokenizer(folder: ModelFolder) -> Any:
    import tokenizers

    try:
        if folder.tokenizer.name == "tokenizer.json":
            return tokenizers.Tokenizer.from_file(str(folder.tokenizer))
        words = folder.tokenizer.read_text(encoding="utf-8").splitlines()
    except Exception as error:  # the library raises nothing narrower
        raise unusable(folder.path, f"{folder.tokenizer.name} cannot be read ({type(error).__name__})") from error
    special = {key: _special(folder, key, default) for key, default in _SPECIAL.items()}
    vocabulary = {word: number for number, word in enumerate(words)}
    if missing := sorted(set(special.values()) - vocabulary.keys()):
        raise unusable(folder.path, f"vocab.txt has no {', '.join(missing)}")
    config = folder.tokenizer_config
    return tokenizers.BertWordPieceTokenizer(
        vocabulary,
        **special,
        lowercase=bool(config.get("do_lower_case", True)),
        strip_accents=config.get("strip_accents"),
        handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
    )


_SPECIAL = {"unk_token": "[UNK]", "sep_token": "[SEP]", "cls_token": "[CLS]", "pad_token": "[PAD]"}


def _special(folder: ModelFolder, key: str, default: str) -> str:
    """A special token's text; tokenizer_config.json has it as a string or as an object."""
    value = folder.tokenizer_config.get(key, default)
    return str(value.get("content", default) if isinstance(value, dict) else value)
