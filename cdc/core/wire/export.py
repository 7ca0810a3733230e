"""The export of all enabled flags, in a form that every client of Flagent can read.

Flagent's clients disagree: the generated Go models require `flagID`, reject unknown fields, and ignore letter case; the
fetcher of the server requires `flagId`. All of them can read an export with both spellings of each id and no field
unknown to the Go models.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from ..flags.flag import FlagJson
from ..flags.stored_flag import StoredFlag
from ..steps import run_steps
from ..text.json_text import encode
from .deflate import COMMA, GzipPart

__all__ = ["export_part", "export_part_in_turns", "export_parts", "export_text", "exported_flag"]

_LEVEL = 6

_FLAG = ("id", "key", "description", "createdBy", "updatedBy", "enabled")
_FLAG_TAIL = ("notes", "dataRecordsEnabled", "entityType")


def export_text(flags: Iterable[FlagJson], revision: str) -> str:
    """`{"flags": […], "revision": …}` of the enabled ones of these live flags; the Go client stores the revision."""
    return encode({"flags": [exported_flag(flag) for flag in flags if flag["enabled"]], "revision": revision})


def export_part(flags: Sequence[StoredFlag]) -> GzipPart:
    """The same of flags that follow each other by id, newest first and without what is around them: a part of the
    export, which is empty where none is enabled."""
    return run_steps(export_part_in_turns(flags))


def export_part_in_turns(flags: Sequence[StoredFlag]) -> Generator[None, None, GzipPart]:
    """The same in steps: a flag each, and their compression."""
    texts: list[str] = []
    for stored in reversed(flags):
        flag = stored.render_for_evaluation()
        if flag["enabled"]:
            texts.append(encode(exported_flag(flag)))
        yield
    return GzipPart.of(",".join(texts).encode(), _LEVEL)


def export_parts(parts: Iterable[GzipPart], revision: str) -> list[GzipPart]:
    """The whole export of these parts, in their order."""
    whole = [GzipPart.small(b'{"flags":[')]
    for part in parts:
        if part.size_bytes:
            if len(whole) > 1:
                whole.append(COMMA)
            whole.append(part)
    whole.append(GzipPart.small(b'],"revision":%b}' % encode(revision).encode()))
    return whole


def exported_flag(flag: FlagJson) -> dict[str, Any]:
    """One flag in the shape of the export."""
    exported: dict[str, Any] = {name: flag[name] for name in _FLAG}
    exported |= {"snapshotID": flag["snapshotID"], "snapshotId": flag["snapshotID"]}
    exported |= {name: flag[name] for name in _FLAG_TAIL}
    exported["segments"] = [_segment(segment) for segment in flag["segments"]]
    exported["variants"] = [_variant(variant) for variant in flag["variants"]]
    exported["tags"] = [{"id": tag["id"], "value": tag["value"]} for tag in flag["tags"]]
    return exported


def _twice(name: str, value: Any) -> dict[str, Any]:
    """An id under both its names, such as `flagID` and `flagId`."""
    return {f"{name}ID": value, f"{name}Id": value}


def _segment(segment: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": segment["id"],
        **_twice("flag", segment["flagID"]),
        "description": segment["description"],
        "rank": segment["rank"],
        "rolloutPercent": segment["rolloutPercent"],
        "constraints": [
            {
                "id": constraint["id"],
                **_twice("segment", constraint["segmentID"]),
                "property": constraint["property"],
                "operator": constraint["operator"],
                "value": constraint["value"],
            }
            for constraint in segment["constraints"]
        ],
        "distributions": [
            {
                "id": share["id"],
                **_twice("segment", share["segmentID"]),
                **_twice("variant", share["variantID"]),
                "variantKey": share["variantKey"],
                "percent": share["percent"],
            }
            for share in segment["distributions"]
        ],
    }


def _variant(variant: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": variant["id"],
        **_twice("flag", variant["flagID"]),
        "key": variant["key"],
        "attachment": variant["attachment"],
    }
