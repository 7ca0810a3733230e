"""A live local copy of Flagent's feature flags.

async with FlagentWebSocketClient("ws://host/ws") as client:
    store = FlagStore(client)
    await store.ready(timeout=5)
    store.get("new_payment_flow").enabled
"""

from ._backoff import ReconnectConfig
from ._evaluation import EvaluationResult
from .errors import (
    AmbiguousFlag,
    ClientClosed,
    ConnectionLost,
    FlagentError,
    HandlerFailed,
    NotReady,
    ProtocolError,
    ReconnectExhausted,
    Refused,
    RequestFailed,
)
from .events import Event, EventType
from .flags import Constraint, Distribution, Flag, Segment, Tag, Variant
from .sse import FlagentSSEClient
from .store import Change, ChangeKind, FlagStore, Status
from .subscriptions import Subscription
from .websocket import FlagentWebSocketClient

__all__ = [
    "AmbiguousFlag",
    "Change",
    "ChangeKind",
    "ClientClosed",
    "ConnectionLost",
    "Constraint",
    "Distribution",
    "EvaluationResult",
    "Event",
    "EventType",
    "Flag",
    "FlagStore",
    "FlagentError",
    "FlagentSSEClient",
    "FlagentWebSocketClient",
    "HandlerFailed",
    "NotReady",
    "ProtocolError",
    "ReconnectConfig",
    "ReconnectExhausted",
    "Refused",
    "RequestFailed",
    "Segment",
    "Status",
    "Subscription",
    "Tag",
    "Variant",
]
