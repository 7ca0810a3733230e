"""State and numbers of this process, for operators; the page shows them beside the flags."""

from typing import Any

from fastapi import APIRouter, Request

from cdc.fanout.unreadable_rows import UnreadableRow
from cdc.observe.status import LogStatus, Status, StatusReader

from ..access.authentication import grant_of
from ..http.problem import Problem
from ..limits.connection_limit import ConnectionLimit
from ..streams.gateway import Gateway

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["health"])


@router.get("/status", summary="State and numbers of this process")
async def status(request: Request) -> dict[str, Any]:
    """Requires the right `admin` if authentication is enabled. With several workers, the response is that of one."""
    if not grant_of(request).admin:
        raise Problem(
            403, "not_allowed", "this credential is not authorized for the status; use one with the right `admin`"
        )
    reader: StatusReader = request.app.state.status
    gateway: Gateway = request.app.state.gateway
    return {"version": request.app.version, **_document(await reader.read(), gateway)}


def _document(status: Status, gateway: Gateway) -> dict[str, Any]:
    return {
        "now": status.now.isoformat(),
        "startedAt": status.started_at.isoformat(),
        "freshness": {"fresh": status.freshness.fresh, "ageMs": status.freshness.age_ms},
        "listener": {
            "mode": status.listener.mode,
            "reason": status.listener.reason,
            "reconnects": status.listener.reconnects,
            "notifications": status.listener.notifications,
        },
        "capture": {"problems": list(status.capture_problems)},
        "position": str(status.position),
        "log": {"id": status.log_id, **_log(status.log)},
        "catalog": {"flags": status.flags, "schemas": list(status.schemas)},
        "ring": {
            "events": status.ring.events,
            "sizeBytes": status.ring.size_bytes,
            "limitEvents": status.ring.limit_events,
            "limitBytes": status.ring.limit_bytes,
        },
        "connections": {
            "sse": _connections(gateway, gateway.sse_limit, "sse"),
            "websocket": _connections(gateway, gateway.websocket_limit, "websocket"),
            "waiting": gateway.handshake_rate.waiting,
            "behind": status.behind,
        },
        "deliveries": status.deliveries,
        "resyncs": status.resyncs,
        "pauses": status.pauses,
        "unreadable": [
            _unreadable(row)
            for pipeline in gateway.pipelines.pipelines.values()
            for row in pipeline.hub.unreadable.entries()
        ],
    }


def _unreadable(row: UnreadableRow) -> dict[str, Any]:
    return {
        "table": row.table,
        "reason": row.reason,
        "count": row.count,
        "position": str(row.position),
        "committedAt": row.committed_at,
    }


def _log(log: LogStatus | None) -> dict[str, Any]:
    """Null where the value is unknown."""
    reach = None if log is None else log.reach
    ahead_ms = None if log is None else log.clock_ahead_ms
    return {
        "newest": None if log is None else str(log.newest),
        "lag": None if log is None else log.lag,
        "oldest": None if reach is None or reach.oldest is None else str(reach.oldest),
        "oldestAt": None if reach is None else reach.oldest_at,
        "sizeBytes": None if log is None else log.size_bytes,
        "clockAheadMs": None if ahead_ms is None else round(ahead_ms, 3),
    }


def _connections(gateway: Gateway, limit: ConnectionLimit, transport: str) -> dict[str, int]:
    refused = sum(count for (of, _), count in gateway.refusals.items() if of == transport)
    return {"open": limit.open_count, "limit": limit.limit, "refused": refused}
