"""The document in which a store is saved, and what a bootstrap may be. Pure.

A document that cannot be believed is never used in part: reading it raises :exc:`IgnoredFlags` with a reason.

``checksum`` is the CRC-32 of the text after it. Where it is right, the text is what was written: then ``index`` says
which flags there are (key, id and checksum of each), and each is read when it is first needed. Otherwise the whole text
is parsed, to say what is wrong with it; a document of an SDK that writes no checksum is believed by its digest.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, TypeGuard

from ._digest import digest_of
from ._event_id import compare_event_ids, parse_event_id
from ._flag_table import FlagEntry, UnreadFlag
from .errors import IgnoredFlags

FORMAT = 1
_START = re.compile(r'\{"format":1,"checksum":"([0-9a-f]{8})",')
_FLAGS = ',"flags":['
_SEPARATOR = ",\n"
"""Nowhere else in the text of a document."""
MAX_TEXT_BYTES = 256 * 1024 * 1024
MAX_AHEAD = timedelta(minutes=5)


@dataclass(frozen=True)
class SavedFlags:
    """Flags to start from. ``event_id`` is where the stream resumes; ``None`` when that is not known."""

    event_id: str | None
    flags: Sequence[dict[str, Any]]
    unread: Sequence[UnreadFlag] = ()
    """In place of ``flags``."""


def write_document(key: str, event_id: str, entries: Iterable[FlagEntry], digest: str, now: datetime) -> str:
    """The document of a store: its flags as received, complete up to *event_id*."""
    parsed = parse_event_id(event_id)
    entries = list(entries)
    flags = [entry.unread() for entry in entries]
    document: dict[str, Any] = {
        "key": key,
        "savedAt": now.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "id": event_id,
        "position": None if parsed is None else str(parsed.position),
        "digest": digest,
    }
    # With several schemas, a key does not name one flag.
    if not any(entry.schema for entry in entries):
        document["index"] = [part for flag in flags for part in (flag.key, flag.id, flag.checksum)]
    members = json.dumps(document, separators=(",", ":"))
    rest = f"{members[1:-1]}{_FLAGS}{_SEPARATOR.join(flag.text for flag in flags)}]}}"
    return f'{{"format":{FORMAT},"checksum":"{_checksum(rest)}",{rest}'


def read_document(text: str, key: str, now: datetime, max_age: timedelta) -> SavedFlags:
    """The flags in a cache; raises :exc:`IgnoredFlags`."""
    unread = None if len(text) > MAX_TEXT_BYTES else _read_unread(text)
    document = _parse(text) if unread is None else unread[0]
    if not isinstance(document, dict):
        raise IgnoredFlags("wrong_types", "it is not a JSON object")
    _check_format(document)
    saved_at, event_id, flags = _time(document.get("savedAt")), document.get("id"), document.get("flags")
    if not isinstance(document.get("key"), str) or not isinstance(document.get("digest"), str):
        raise IgnoredFlags("wrong_types", "it has no key, or no digest")
    if saved_at is None or not isinstance(event_id, str) or not event_id or not are_flags(flags):
        raise IgnoredFlags("wrong_types", "it has no time, no id, or no list of flags")
    if document["key"] != key:
        raise IgnoredFlags("other_key", "it belongs to another server, selection or credential")
    if now - saved_at > max_age:
        raise IgnoredFlags("too_old", f"it was saved at {document['savedAt']}, longer ago than {max_age}")
    if saved_at - now > MAX_AHEAD:
        raise IgnoredFlags("in_the_future", f"it was saved at {document['savedAt']}, which is in the future")
    if unread is not None and unread[1] is not None:
        return SavedFlags(event_id, (), unread[1])
    _check_digest(document, flags)
    if unread is None and "checksum" in document:
        raise IgnoredFlags("digest", "its checksum is not that of its text; it was damaged or changed")
    return SavedFlags(event_id, flags)


def _read_unread(text: str) -> tuple[dict[str, Any], Sequence[UnreadFlag] | None] | None:
    """The members of a document whose checksum is right, without its flags where it has an index; else ``None``."""
    start = _START.match(text)
    if start is None or _checksum(rest := text[start.end() :]) != start[1]:
        return None
    members, _, flags = rest.partition(_FLAGS)
    document: dict[str, Any] = {**json.loads(f"{{{members}}}"), "format": FORMAT}
    index = document.get("index")
    if index is None:
        return {**document, "flags": json.loads(f"[{flags[:-1]}")}, None
    texts = flags[: -len("]}")].split(_SEPARATOR) if index else []
    return {**document, "flags": []}, list(map(UnreadFlag, index[::3], index[1::3], index[2::3], texts))


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}"


def read_bootstrap(given: object) -> SavedFlags:
    """The flags that an application brings, as text or parsed JSON; raises :exc:`IgnoredFlags`."""
    document = _parse(given) if isinstance(given, (str, bytes)) else given
    if isinstance(document, list):
        document = {"flags": document}
    if not isinstance(document, dict) or document.get("type", "snapshot") != "snapshot":
        raise IgnoredFlags("wrong_types", "it is neither a list of flags, nor a snapshot, nor a saved document")
    if "format" in document:
        _check_format(document)
    event_id, flags = document.get("id"), document.get("flags")
    if not (event_id is None or (isinstance(event_id, str) and event_id)) or not are_flags(flags):
        raise IgnoredFlags("wrong_types", "its id is not a text, or it has no list of flags")
    if "format" in document:
        _check_digest(document, flags)
    return SavedFlags(event_id, flags)


def choose(cache: SavedFlags | None, bootstrap: SavedFlags | None) -> SavedFlags | None:
    """The newer one, where both have an id of the same log; otherwise the cache."""
    if cache is None or bootstrap is None:
        return bootstrap if cache is None else cache
    if cache.event_id is None or bootstrap.event_id is None:
        return cache
    return bootstrap if compare_event_ids(bootstrap.event_id, cache.event_id) == 1 else cache


def are_flags(value: object) -> TypeGuard[list[dict[str, Any]]]:
    """Whether a value is a list of objects that each have a key and an id."""
    return isinstance(value, list) and all(
        isinstance(flag, dict)
        and isinstance(flag.get("key"), str)
        and isinstance(flag.get("id"), int)
        and not isinstance(flag["id"], bool)
        for flag in value
    )


def _parse(text: str | bytes) -> Any:
    if len(text) > MAX_TEXT_BYTES:
        raise IgnoredFlags("too_large", f"it has more than {MAX_TEXT_BYTES} bytes")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise IgnoredFlags("not_json", "it is not JSON; it may be damaged or truncated") from cause


def _check_format(document: dict[str, Any]) -> None:
    found = document.get("format")
    if found != FORMAT or isinstance(found, bool):
        raise IgnoredFlags("format", f"its format is {str(found)[:40]!r}, not {FORMAT}; another version wrote it")


def _check_digest(document: dict[str, Any], flags: Any) -> None:
    if document.get("digest") != digest_of(flags):
        raise IgnoredFlags("digest", "its digest is not that of its flags; it was damaged or changed")


def _time(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return None if found.tzinfo is None else found
