"""The event stream for people: one line per event, with what changed since the flag was last seen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cdc.cli.difference import (
    describe_flag,
    difference_of_distributions,
    difference_of_flag,
    difference_of_rows,
    difference_of_segment,
    difference_of_variant,
    plain,
)

__all__ = ["View"]

JsonObject = Mapping[str, Any]

DIM, BOLD, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN = "2", "1", "31", "32", "33", "34", "35", "36"
COLOURS = {
    "flag_created": GREEN,
    "flag_updated": CYAN,
    "flag_enabled": GREEN,
    "flag_disabled": YELLOW,
    "flag_deleted": RED,
    "segment_updated": BLUE,
    "distribution_updated": MAGENTA,
    "variant_updated": BLUE,
}
# An event older than this at arrival was replayed, and its age is shown in coarser units.
_REPLAYED = timedelta(seconds=10)


@dataclass(slots=True)
class _Known:
    """A flag as last seen, and as it was before the commit that was last seen: a commit's events compare with that."""

    flag: JsonObject | None
    commit: str = ""
    before: JsonObject | None = None


@dataclass(slots=True)
class View:
    """Remembers flags and turns stream messages into lines; it prints nothing itself.

    `several_schemas` shows each event's schema. The first snapshot or event of a second schema sets it.
    """

    colour: bool = False
    several_schemas: bool = False
    _flags: dict[tuple[str, int], _Known] = field(default_factory=dict)
    _schemas: set[str] = field(default_factory=set)
    _fresh: bool = True

    def connected(self, url: str, data: JsonObject) -> list[str]:
        """The first block of every connection."""
        self._fresh = bool(data.get("fresh", True))
        word = "fresh" if self._fresh else f"STALE for {_span(timedelta(milliseconds=data.get('ageMs', 0)))}"
        return [self._note(f"connected to {url} at position {plain(data.get('position'))}, {word}")]

    def snapshot(self, data: JsonObject, *, shown: bool) -> list[str]:
        """A snapshot replaces all that is known; with `shown`, one line for each flag."""
        self._flags.clear()
        for flag in data["flags"]:
            self._flags[flag.get("schema", ""), flag["id"]] = _Known(flag)
        if not shown:
            return []
        lines = [self._note(f"snapshot at position {plain(data['position'])}: {len(data['flags'])} flags")]
        flags = sorted(data["flags"], key=lambda each: str(each["key"]))
        return lines + [self._line("", "snapshot", str(flag["key"]), describe_flag(flag), "", DIM) for flag in flags]

    def resync(self, data: JsonObject) -> list[str]:
        """The stream could not be resumed: the snapshot replaces the state, and the events in between are lost."""
        lines = self.snapshot(data["snapshot"], shown=False)
        count = len(data["snapshot"]["flags"])
        return [
            *lines,
            self._note(
                f"resync ({plain(data['reason'])}): {count} flags as of now, events in between are lost", YELLOW
            ),
        ]

    def freshness(self, comment: str) -> list[str]:
        """The fields of a keep-alive (`fresh=… ageMs=…`); a line only where freshness changes."""
        words = dict(word.split("=", 1) for word in comment.split() if "=" in word)
        fresh = words.get("fresh", "true") == "true"
        if fresh == self._fresh:
            return []
        self._fresh = fresh
        if fresh:
            return [self._note("fresh again")]
        age = words.get("ageMs", "0")
        span = _span(timedelta(milliseconds=int(age) if age.isdigit() else 0))
        return [self._note(f"STALE: the server could not confirm freshness for {span}", YELLOW)]

    def event(self, event: JsonObject, received: datetime) -> list[str]:
        """One event object (with `envelope=true`), received at this time."""
        kind = str(event["type"])
        schema = str(event.get("schema", ""))
        self._schemas.add(schema)
        self.several_schemas = self.several_schemas or len(self._schemas) > 1
        committed = datetime.fromisoformat(event["committedAt"])
        subject = event["flagKey"] if event.get("flagKey") is not None else event.get("table", "")
        if event.get("flagID") is None:
            phrases = _key(event) + difference_of_rows(event.get("before"), event.get("after"), event.get("changed"))
            if event.get("unreadable") is not None:
                phrases.append(f"values not delivered: {plain(event['unreadable'])}")
        else:
            phrases = self._flag_phrases(kind, schema, event)
        shown = f"{schema}.{subject}" if self.several_schemas else str(subject)
        time = f"{committed.astimezone(received.tzinfo):%H:%M:%S.%f}"[:-3]
        return [self._line(time, kind, shown, phrases, _age(received - committed), COLOURS.get(kind, BOLD))]

    def _flag_phrases(self, kind: str, schema: str, event: JsonObject) -> list[str]:
        flag_id, commit = int(event["flagID"]), str(event["id"]).partition("-")[0]
        # With one schema, snapshots do not name it.
        known = self._flags.get((schema, flag_id)) or self._flags.pop(("", flag_id), None) or _Known(None)
        if known.commit != commit:
            known = _Known(known.flag, commit, known.flag)
        before, after = known.before, event.get("flag")
        known.flag = after
        self._flags[schema, flag_id] = known
        return _phrases(kind, before, after, event)

    def _line(self, time: str, kind: str, subject: str, phrases: Sequence[str], age: str, colour: str) -> str:
        parts = [
            self._paint(f"{time:<12}", DIM),
            self._paint(f"{kind:<20}", colour),
            self._paint(f"{plain(subject):<32}", BOLD),
            *([", ".join(phrases)] if phrases else []),
            *([self._paint(f"({age})", DIM)] if age else []),
        ]
        return " ".join(parts)

    def _note(self, text: str, colour: str = DIM) -> str:
        return self._paint(f"-- {text}", colour)

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text


def _phrases(kind: str, before: JsonObject | None, after: JsonObject | None, event: JsonObject) -> list[str]:
    if after is None:
        return []
    match kind:
        case "flag_created":
            return describe_flag(after)
        case "flag_enabled":
            return ["enabled false → true"]
        case "flag_disabled":
            return ["enabled true → false"]
        case "flag_updated":
            return difference_of_flag(before, after) if before else describe_flag(after)
        case "segment_updated":
            segment = event.get("segment")
            if before is None and segment is not None:
                return [f"segment {event['segmentID']}: rollout {segment['rolloutPercent']} %"]
            return difference_of_segment(_part(before, "segments", event["segmentID"]), segment)
        case "distribution_updated":
            segment = _part(before, "segments", event["segmentID"])
            return difference_of_distributions(segment["distributions"] if segment else [], event["distributions"])
        case "variant_updated":
            variant = event.get("variant")
            if before is None and variant is not None:
                return [f"variant {plain(variant['key'])}"]
            return difference_of_variant(_part(before, "variants", event["variantID"]), variant)
        case _:
            # A type of a newer server: show at least the flag.
            return difference_of_flag(before, after) if before else describe_flag(after)


def _part(flag: JsonObject | None, name: str, id_: object) -> JsonObject | None:
    parts: Sequence[JsonObject] = flag[name] if flag else ()
    return next((part for part in parts if part["id"] == id_), None)


def _key(event: JsonObject) -> list[str]:
    return [plain(json.dumps(event["key"], ensure_ascii=False))] if event.get("key") else []


def _age(age: timedelta) -> str:
    return f"{age / timedelta(milliseconds=1):.0f} ms" if age < _REPLAYED else f"{_span(age)} ago"


def _span(span: timedelta) -> str:
    seconds = span.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
