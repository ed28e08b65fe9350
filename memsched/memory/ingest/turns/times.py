"""When something was said: a moment, in the zone of who said it, out of the ways in which programs write one.

Never another time than was meant: what could be two times, or none, is refused. Where no zone is told, it is UTC.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from memsched.errors import InvalidMessage
from memsched.memory.ingest.turns.forms import TIMES, named, spelled, words_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECONDS, _LAST_SECONDS = 315_532_800, 4_102_444_800
"""1980 to 2100: what a number of seconds can mean, and one of milliseconds. No number is in both."""
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
_ZONE = r"(?P<zone>Z|UTC|UT|GMT|[+-]\d{2}(?::?\d{2})?)"
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_DAYS = "mon tue wed thu fri sat sun".split()
_AMERICAN = {"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}
"""The names of zones that RFC 2822 knows."""
_FORMS = tuple(
    re.compile(form, re.IGNORECASE | re.ASCII)
    for form in (
        rf"(?P<year>\d{{4}})(?P<between>[-/.])(?P<month>\d{{1,2}})(?P=between)(?P<day>\d{{1,2}})"
        rf"(?:(?:T|,?\ +){_CLOCK}(?:\ ?{_ZONE})?)?",
        r"(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})"
        rf"(?:T(?P<hour>\d{{2}})(?P<minute>\d{{2}})(?:(?P<second>\d{{2}})(?:[.,](?P<fraction>\d{{1,9}}))?)?{_ZONE}?)?",
        rf"(?:(?P<weekday>{'|'.join(_DAYS)}),?\ +)?(?P<day>\d{{1,2}})\ +(?P<name>{'|'.join(_MONTHS)})\ +"
        rf"(?P<year>\d{{4}})\ +{_CLOCK}(?:\ +(?:{_ZONE}|(?P<american>{'|'.join(_AMERICAN)})))?(?:\ +\([A-Z]+\))?",
        rf"(?:(?P<weekday>{'|'.join(_DAYS)})[a-z]*,\ +)?(?P<name>{'|'.join(_MONTHS)})[a-z]*\ +(?P<day>\d{{1,2}}),\ +"
        rf"(?P<year>\d{{4}})(?:,|\ +at)?\ +{_CLOCK}(?:\ ?(?P<half>[ap]m))?"
        rf"(?:\ +(?:{_ZONE}|(?P<american>{'|'.join(_AMERICAN)})))?",
    )
)
_ONLY_CLOCK = re.compile(_CLOCK + rf"(?:\ ?{_ZONE})?", re.ASCII)
_ONLY_DAY = re.compile(r"\d{4}([-/.]?)\d{1,2}\1\d{1,2}", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?", re.ASCII)
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?", re.ASCII)
_MOST_OFFSET = timedelta(hours=14)
_LOCAL = re.compile(r"\d{4}\D.*:\d{2}(?:[.,]\d+)?", re.ASCII | re.DOTALL)
"""A time of day that tells no zone."""
_BESIDE = ("metadata", "additional_kwargs", "meta")
_KNOWN = "write it as 2026-01-02T03:04:05+01:00, or in seconds or milliseconds since 1970"


def said_at(fields: Mapping[str, Any], where: str) -> datetime | None:
    """The time that a turn's fields tell; None if they tell none. Raises InvalidMessage."""
    zone = _zone_in(fields, where)
    plain = {spelled(name): value for name, value in fields.items() if isinstance(name, str)}
    day, clock = plain.get("date"), plain.get("time")
    if isinstance(day, str) and isinstance(clock, str) and _ONLY_DAY.fullmatch(day) and _ONLY_CLOCK.fullmatch(clock):
        return moment_of(f"{day} {clock}", f"{where}.time", zone)
    for name, given in named(fields, "time"):
        if zone is None and isinstance(given, str) and _LOCAL.fullmatch(given.strip()):
            _refuse_number_of_zone(fields, where)
        return moment_of(given, f"{where}.{name}", zone)
    for name, given in fields.items():
        words = words_of(name) if isinstance(name, str) and isinstance(given, str | int | float) else set()
        if words & TIMES["words"] and not words & TIMES["of_other_things"]:
            try:
                return moment_of(given, f"{where}.{name}", zone)
            except InvalidMessage:  # the name of a duration, a flag, a place
                continue
    parts = fields.get("parts")
    for number, part in enumerate(parts if isinstance(parts, list | tuple) else ()):  # as PydanticAI has them
        if isinstance(part, Mapping) and part.get("timestamp") not in (None, ""):
            return moment_of(part["timestamp"], f"{where}.parts[{number}].timestamp", zone)
    return _told_beside(fields, zone)


def _told_beside(fields: Mapping[str, Any], zone: tzinfo | None) -> datetime | None:
    """As programs write it beside the message that have no place for it in one."""
    for beside in _BESIDE:
        about = fields.get(beside)
        for name, given in named(about, "time_beside") if isinstance(about, Mapping) else ():
            try:
                return moment_of(given, name, zone)
            except InvalidMessage:  # of something else
                continue
    return None


def _refuse_number_of_zone(fields: Mapping[str, Any], where: str) -> None:
    """Raises InvalidMessage for an offset that may be hours, minutes or seconds, east or west."""
    for name, given in named(fields, "zone"):
        if _is_number(given) and given:
            raise InvalidMessage(
                f"{where}.{name} is {given!r}, which may be hours, minutes or seconds; write it as +01:00, Europe/Oslo"
            )


def moment_of(given: Any, where: str, zone: tzinfo | None = None) -> datetime:
    """The moment that is meant, in the zone that it was told in. Raises InvalidMessage.

    Args:
        zone: the speaker's, where it is known.
    """
    try:
        moment = _moment(given, zone or UTC)
        moment = moment if zone is None else moment.astimezone(zone)
        moment.astimezone(UTC)
        return in_fixed_zone(moment)
    except (ValueError, OverflowError) as error:
        told = type(given).__name__
        if isinstance(given, str | int | float):
            told = repr(given[:40] if isinstance(given, str) else given)
        elif isinstance(given, Mapping | list):
            told = repr(given)[:80]
        why = f" ({error})" if str(error) in _REASONS else ""
        raise InvalidMessage(f"{where} has a time that is not understood: {told}{why}; {_KNOWN}") from error


def in_fixed_zone(moment: datetime) -> datetime:
    """The same moment, in a zone that is no more than its offset, in whole minutes."""
    offset = moment.utcoffset() or timedelta()
    return moment.astimezone(timezone(timedelta(minutes=round(offset / timedelta(minutes=1)))) if offset else UTC)


_BOTH_WAYS, _WRONG_DAY = "no time between 1980 and 2100", "another day of the week"
_REASONS = (_BOTH_WAYS, _WRONG_DAY)


def _moment(given: Any, zone: tzinfo) -> datetime:
    if isinstance(given, datetime):
        return given if given.tzinfo is not None else given.astimezone()
    if isinstance(given, date):
        return datetime(given.year, given.month, given.day, tzinfo=zone)
    if _is_number(given):
        return _from_number(given)
    if not isinstance(given, str):
        raise ValueError
    text = given.strip().replace("\u202f", " ")
    for form in _FORMS:
        if found := form.fullmatch(text):
            return _from_parts(found.groupdict(), zone)
    if _NUMBER.fullmatch(text):
        return _from_number(float(text))
    raise ValueError


def _is_number(given: Any) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)


def _from_number(number: float) -> datetime:
    if not math.isfinite(number):
        raise ValueError
    for unit in (1, 1000):
        if _FIRST_SECONDS * unit <= number < _LAST_SECONDS * unit:
            return _EPOCH + timedelta(microseconds=round(number * 1_000_000 / unit))
    raise ValueError(_BOTH_WAYS)


def _from_parts(parts: Mapping[str, str | None], zone: tzinfo) -> datetime:
    name = parts.get("name")
    month = _MONTHS.index(name.lower()) + 1 if name else int(parts["month"] or 0)
    fraction = ((parts.get("fraction") or "") + "000000")[:6]
    day, hour, minute, second = (int(parts.get(each) or 0) for each in ("day", "hour", "minute", "second"))
    if half := parts.get("half"):
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + 12 * (half.lower() == "pm")
    american = parts.get("american")
    told = timezone(timedelta(hours=_AMERICAN[american.upper()])) if american else _offset(parts.get("zone"))
    moment = datetime(int(parts["year"] or 0), month, day, hour, minute, second, int(fraction), told or zone)
    weekday = parts.get("weekday")
    if weekday and _DAYS.index(weekday.lower()) != moment.weekday():
        raise ValueError(_WRONG_DAY)
    return moment


def _offset(zone: str | None) -> tzinfo | None:
    """Of "Z", "+01:00", "-0800", "+01"; RFC 2822 writes "-0000" where it does not know."""
    if zone is None or zone == "-0000":
        return None
    if zone.upper() in ("Z", "UTC", "UT", "GMT"):
        return UTC
    found = _OFFSET.fullmatch(zone)
    if found is None or int(found[3] or 0) >= 60:
        raise ValueError
    offset = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
    if offset > _MOST_OFFSET:
        raise ValueError
    return timezone(-offset if found[1] == "-" else offset)


def _zone_in(fields: Mapping[str, Any], where: str) -> tzinfo | None:
    """The speaker's zone: as the zone database calls it (Europe/Oslo), or as an offset."""
    for name, given in named(fields, "zone"):
        by_offset = spelled(name).endswith("offset")
        if by_offset and not isinstance(given, str):  # a number of hours, minutes or seconds, east or west
            continue
        zone = _zone(given)
        if zone is None and not by_offset:
            told = repr(given[:40]) if isinstance(given, str) else type(given).__name__
            raise InvalidMessage(
                f"{where}.{name} is no time zone that is known: {told}; write it as Europe/Oslo or +01:00"
            )
        return zone
    return None


def _zone(given: Any) -> tzinfo | None:
    """None: it is none that is known."""
    text = given.strip() if isinstance(given, str) else ""
    try:
        if text.upper() in _AMERICAN:
            return timezone(timedelta(hours=_AMERICAN[text.upper()]))
        if text[:1] in "+-Zz" or _OFFSET.fullmatch(text):
            return _offset(text)
        return ZoneInfo(text)
    except (ValueError, OSError, KeyError):  # ZoneInfo's own error is a KeyError
        return None
