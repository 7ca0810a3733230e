"""The events of the benchmark: a flag of a given size, as subscribers receive it.

Each has a marker `seq=00000042`, by which the load client checks order and completeness. For flagent-cdc the marker and
the padding are in the column `notes` of a row; every other server gets the bytes that flagent-cdc would send.
"""

import json
import struct
from typing import Any, Literal

__all__ = ["FLAG_BYTES", "Mode", "flag", "message", "notes", "sse_block", "websocket_frame"]

Mode = Literal["sse", "ws"]

FLAG_BYTES = 600
KEY = "bench-fanout"


def notes(seq: int, padding: int) -> str:
    return f"seq={seq:08d} " + ("change streams carry state, not gossip; " * 40)[:padding]


def flag(seq: int, size: int = FLAG_BYTES) -> dict[str, Any]:
    """A flag whose compact JSON has `size` bytes."""
    content: dict[str, Any] = {
        "id": 1,
        "key": KEY,
        "description": "fan-out",
        "createdBy": None,
        "updatedBy": "bench",
        "enabled": True,
        "snapshotID": 0,
        "notes": notes(seq, 0),
        "dataRecordsEnabled": False,
        "entityType": None,
        "environmentId": None,
        "projectId": None,
        "dependsOn": [],
        "segments": [],
        "variants": [],
        "tags": [],
        "updatedAt": "2026-11-23T08:00:00.123456",
        "archived": False,
    }
    content["notes"] = notes(seq, max(0, size - len(compact(content))))
    return content


def compact(content: object) -> str:
    return json.dumps(content, separators=(",", ":"))


def event_id(seq: int) -> str:
    return f"{seq}-0@k7q2mx"


def sse_block(seq: int) -> bytes:
    return f"event: flag_updated\nid: {event_id(seq)}\ndata: {compact(flag(seq))}\n\n".encode()


def message(seq: int) -> dict[str, Any]:
    """The event object of a WebSocket message."""
    return {
        "type": "flag_updated",
        "id": event_id(seq),
        "flagKey": KEY,
        "flagID": 1,
        "schema": "public",
        "committedAt": "2026-11-23T08:00:00.123456Z",
        "flag": flag(seq),
    }


def websocket_frame(seq: int) -> bytes:
    """A whole unmasked text frame."""
    text = compact(message(seq)).encode()
    return b"\x81" + (struct.pack("!BH", 126, len(text)) if len(text) > 125 else bytes([len(text)])) + text
