"""Slack's export: a file for each day of a channel, with people by their ids, and users.json with their names."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

USERS = "users.json"
_DAY = re.compile(r"(?:.*/)?([^/]+/\d{4}-\d{2}-\d{2})\.json")
_MENTION = re.compile(r"<@(\w+)>")


def days_of(files: Collection[str]) -> dict[str, str]:
    """The files of an export with messages, and what each day of a channel is called; {} if it is none of Slack's."""
    if not any(name.rpartition("/")[2] == USERS for name in files):
        return {}
    return {name: found[1] for name in files if (found := _DAY.fullmatch(name))}


def names_in(users: bytes) -> dict[str, str]:
    """The names of people by their ids, in users.json; without those that cannot be read."""
    try:
        listed = json.loads(users)
    except (ValueError, RecursionError):
        return {}
    people = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    names = {str(each.get("id")): _name(each) for each in people}
    return {person: name for person, name in names.items() if name}


def _name(person: Mapping[str, Any]) -> str:
    profile = person.get("profile")
    told = [person, profile if isinstance(profile, Mapping) else {}]
    names = (each.get(field) for field in ("real_name", "display_name", "name") for each in told)
    return next((name for name in names if isinstance(name, str) and name.strip()), "")


def with_names(message: Any, names: Mapping[str, str]) -> Any:
    """A message with the names of who sent it, and of whom it mentions."""
    if not names or not isinstance(message, Mapping):
        return message
    told = dict(message)
    if (name := names.get(str(message.get("user")))) and not message.get("user_profile"):
        told["user_profile"] = {"real_name": name}
    if isinstance(text := message.get("text"), str):
        told["text"] = _MENTION.sub(lambda found: f"<@{found[1]}|{names.get(found[1], found[1])}>", text)
    return told
