"""Keep-alive comments of the event stream, in the form of a WebSocket heartbeat. Pure."""

from __future__ import annotations

import re
from typing import Any

_FIELD = re.compile(r"([A-Za-z]+)=(\S+)")


def parse_keep_alive(comment: str) -> dict[str, Any] | None:
    """The heartbeat in a comment; ``None`` when the comment is not a keep-alive.

    Missing and unreadable fields are left out: without ``fresh``, freshness is unknown.
    """
    words = comment.split()
    if not words or words[0] != "keep-alive":
        return None
    heartbeat: dict[str, Any] = {}
    for word in words[1:]:
        match = _FIELD.fullmatch(word)
        if match is None:
            continue
        name, value = match[1], match[2]
        if name == "fresh" and value in ("true", "false"):
            heartbeat[name] = value == "true"
        elif name == "ageMs" and value.isascii() and value.isdigit():
            heartbeat[name] = int(value)
        elif name in ("position", "digest"):
            heartbeat[name] = value
    return heartbeat
