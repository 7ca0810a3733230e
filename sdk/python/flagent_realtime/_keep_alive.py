"""Keep-alive comments of the event stream, read into the form of a WebSocket heartbeat."""

from __future__ import annotations

import re
from typing import Any

_FIELD = re.compile(r"([A-Za-z]+)=(\S+)")


def parse_keep_alive(comment: str) -> dict[str, Any] | None:
    """The heartbeat that a comment stands for, ``None`` when it is no keep-alive.

    Fields that are missing or unreadable are left out: without ``fresh`` nothing is claimed about freshness.
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
