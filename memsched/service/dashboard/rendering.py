"""Templates: what pages and their live parts are written with, and how numbers and times look."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from memsched.console.terminal import duration
from memsched.errors import ServerUnreachable
from memsched.service.dashboard.static_files import static_url
from memsched.service.problems import problem_of
from memsched.version import __version__

_NOT_KNOWN = "–"


def fragment(name: str, **values: Any) -> Markup:
    """A part of a page, HTML; or all of one.

    Args:
        name: of the template.
    """
    return Markup(_TEMPLATES.get_template(name).render(values))  # noqa: S704  templates escape what they are given


def away(error: Exception) -> Markup:
    """What is shown in place of what cannot be: which server does not answer, or that something went wrong."""
    if isinstance(error, ServerUnreachable | TimeoutError):
        terminal = Markup("<code>memsched status</code> at a terminal")
        return fragment("away.html", what="The server of the queue (Redis) does not answer.", where=terminal)
    return fragment("away.html", what=problem_of(error).detail, where="the log of the service")


def _seconds(seconds: float | None) -> str:
    """A length of time in few characters."""
    if seconds is None:
        return _NOT_KNOWN
    if math.isinf(seconds):
        return "longer"
    return f"{seconds * 1000:.3g}ms" if 0 < seconds < 1 else duration(seconds)


def _count(number: float | None) -> str:
    return _NOT_KNOWN if number is None else f"{number:,.0f}"


def _rate(number: float) -> str:
    """Of one second; a small one by the minute."""
    if number <= 0:
        return "0"
    return f"{number:.1f}/s" if number >= 1 else f"{number * 60:.1f}/min"


def _moment(ms: int | None) -> Markup:
    """A time, in ms since the epoch, in UTC."""
    return _at(datetime.fromtimestamp(ms / 1000, UTC)) if ms else Markup.escape(_NOT_KNOWN)


def _at(at: datetime) -> Markup:
    """A time, an aware one, in UTC."""
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        at.isoformat(timespec="milliseconds"), at.strftime("%Y-%m-%d %H:%M:%S")
    )


def path_of(*parts: str) -> str:
    """A path whose parts are ids of strangers: they may hold anything."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def query_of(pairs: Iterable[tuple[str, Any]] = (), **more: Any) -> str:
    """What stands behind a path: ``?name=value``, without what is not given; "" for nothing."""
    given = [(name, str(value)) for name, value in (*pairs, *more.items()) if value not in (None, "", False)]
    return f"?{urlencode(given)}" if given else ""


_TEMPLATES = Environment(
    loader=PackageLoader("memsched.service.dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"seconds": _seconds, "count": _count, "rate": _rate, "moment": _moment, "at": _at}
_TEMPLATES.globals |= {"path": path_of, "query": query_of, "static_url": static_url, "version": __version__}
