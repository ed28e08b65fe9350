"""Catalogue of the collections and their aliases: persisted in one file that is replaced atomically, as a whole."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from typing import Any

from memsched.embedded.vectors.schema import parse_collection
from memsched.embedded.vectors.shard import Shard
from memsched.embedded.vectors.validation import Json, RequestError, as_object, bad_request, required

FILE = "collections.json"
SHARDS = "shards"
FORMAT = 1
MARK = ".unfinished"
MAX_NAME_LENGTH = 255
FORBIDDEN_IN_NAMES = set('<>:"/\\|?*\0')


class CatalogueError(Exception):
    """The file that lists the collections cannot be understood. Nothing was changed."""


class Catalogue:
    """The collections of the current directory.

    A shard's folder is made before the catalogue names it, and removed after it no longer does. A mark beside the
    folder says so: a marked folder that is not named is the rest of what was interrupted, and is removed at the
    start. Any other is somebody's data, whatever the catalogue says, and stays.
    """

    def __init__(self) -> None:
        self._collections: dict[str, Shard] = {}
        self._aliases: dict[str, str] = {}
        self._read()

    def __iter__(self) -> Iterator[Shard]:
        return iter(list(self._collections.values()))

    def names(self) -> list[str]:
        return list(self._collections)

    def aliases(self) -> list[Json]:
        return [{"alias_name": alias, "collection_name": target} for alias, target in self._aliases.items()]

    def has(self, name: str) -> bool:
        return self._aliases.get(name, name) in self._collections

    def find(self, name: str) -> Shard:
        """The collection of this name or alias."""
        collection = self._collections.get(self._aliases.get(name, name))
        if collection is None:
            raise RequestError(404, f"Not found: Collection `{name}` doesn't exist!")
        return collection

    def create(self, name: str, body: Any) -> bool:
        if not 0 < len(name) <= MAX_NAME_LENGTH or FORBIDDEN_IN_NAMES & set(name):
            raise RequestError(422, f"Validation error: {name!r} cannot be the name of a collection")
        if self.has(name):
            raise RequestError(409, f"Wrong input: Collection `{name}` already exists!")
        config = parse_collection(body)
        os.makedirs(SHARDS, mode=0o700, exist_ok=True)
        collection = Shard(name, os.path.join(SHARDS, uuid.uuid4().hex), config)
        _mark(collection.folder)
        collection.create()
        self._write({**self._collections, name: collection}, self._aliases)
        _unmark(collection.folder)
        return True

    def update(self, name: str, body: Any) -> bool:
        """Merge metadata; an empty object removes it, as in Qdrant."""
        collection = self.find(name)
        given = required(as_object(body, "request", "metadata"), "metadata")
        before = collection.config
        metadata = {**before.get("metadata", {}), **given} if given else {}
        collection.config = {**before, "metadata": metadata}
        try:
            self._write(self._collections, self._aliases)
        except OSError:
            collection.config = before
            raise
        return True

    def delete(self, name: str) -> bool:
        collection = self._collections.get(name)
        if collection is None:
            return False
        _mark(collection.folder)
        self._write(
            {other: each for other, each in self._collections.items() if other != name},
            {alias: target for alias, target in self._aliases.items() if target != name},
        )
        collection.unflushed = False
        collection.close()
        _remove(collection.folder)
        return True

    def change_aliases(self, body: Any) -> bool:
        """All of the changes, or none."""
        aliases = dict(self._aliases)
        for action in required(as_object(body, "request", "actions"), "actions"):
            self._change_alias(aliases, action)
        self._write(self._collections, aliases)
        return True

    def _change_alias(self, aliases: dict[str, str], action: Any) -> None:
        action = as_object(action, "action", "create_alias", "delete_alias")
        if deleted := action.get("delete_alias"):
            aliases.pop(required(as_object(deleted, "delete_alias", "alias_name"), "alias_name"), None)
        if created := action.get("create_alias"):
            created = as_object(created, "create_alias", "collection_name", "alias_name")
            alias, target = required(created, "alias_name"), required(created, "collection_name")
            if target not in self._collections:
                raise RequestError(404, f"Not found: Collection `{target}` doesn't exist!")
            if alias in self._collections:
                raise RequestError(409, f"Wrong input: Collection `{alias}` already exists!")
            if not isinstance(alias, str) or not alias:
                raise bad_request("alias_name must be a string")
            aliases[alias] = target

    def close(self) -> None:
        for collection in self._collections.values():
            collection.close()

    def _read(self) -> None:
        try:
            with open(FILE, encoding="utf-8") as file:
                stored = json.load(file)
            if stored["format"] != FORMAT:
                raise ValueError(f"its format is {stored['format']}")
            for name, each in stored["collections"].items():
                self._collections[name] = Shard(name, os.path.join(SHARDS, each["folder"]), each["config"])
            self._aliases = dict(stored["aliases"])
        except FileNotFoundError:
            pass  # a new folder
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CatalogueError(
                f"{os.path.abspath(FILE)} cannot be understood ({error!r}); restore it from a backup"
            ) from error
        self._remove_remains()

    def _remove_remains(self) -> None:
        named = {collection.folder for collection in self}
        found = [os.path.join(SHARDS, each) for each in os.listdir(SHARDS)] if os.path.isdir(SHARDS) else []
        marked = {each.removesuffix(MARK) for each in found if each.endswith(MARK)}
        for folder in marked:
            if folder in named:
                _unmark(folder)
            else:
                _remove(folder)
        lost = [each for each in found if not each.endswith(MARK) and each not in named | marked]
        if lost and not os.path.exists(FILE):
            raise CatalogueError(
                f"{os.path.abspath(FILE)} is missing, but there are collections in {os.path.abspath(SHARDS)}; "
                f"restore it from a backup, or move them away"
            )

    def _write(self, collections: dict[str, Shard], aliases: dict[str, str]) -> None:
        """On disk first, then here: what was answered is what the next process finds."""
        stored = {
            "format": FORMAT,
            "collections": {
                name: {"folder": os.path.basename(each.folder), "config": each.config}
                for name, each in collections.items()
            },
            "aliases": aliases,
        }
        with open(FILE + ".new", "w", encoding="utf-8") as file:
            json.dump(stored, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(FILE + ".new", FILE)
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._collections, self._aliases = collections, aliases


def _mark(folder: str) -> None:
    with open(folder + MARK, "w", encoding="utf-8"):
        pass


def _unmark(folder: str) -> None:
    os.unlink(folder + MARK)


def _remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if not os.path.exists(folder):
        _unmark(folder)
