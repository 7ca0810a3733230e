"""A live local copy of Flagent's feature flags.

async with FlagentWebSocketClient("ws://host/ws") as client:
    store = FlagStore(client)
    await store.ready(timeout=5)
    store.get("new_payment_flow").enabled
"""

from ._backoff import ReconnectConfig
from ._evaluation import EvaluationResult
from .client import FlagentClient, TransportName
from .errors import (
    AmbiguousFlag,
    ClientClosed,
    ConnectionLost,
    ConnectionRefused,
    FlagentError,
    ForkedClient,
    HandlerFailed,
    IgnoredFlags,
    MalformedMessage,
    NotReady,
    PersistenceFailed,
    ReconnectExhausted,
    ReducedFlag,
    RequestFailed,
    RequestTimeout,
    WrongEventLoop,
)
from .events import EventType, FlagentEvent
from .exposures import Exposure, ExposureReporter
from .flags import Constraint, Distribution, Flag, Segment, Tag, Variant
from .persistence import FilePersistence, Persistence
from .sse import FlagentSSEClient
from .store import ChangeKind, FlagChange, FlagStore, StoreSource, StoreStatus
from .subscriptions import Subscription
from .tables import RowChange, TableStore
from .websocket import FlagentWebSocketClient

__all__ = [
    "AmbiguousFlag",
    "ChangeKind",
    "ClientClosed",
    "ConnectionLost",
    "ConnectionRefused",
    "Constraint",
    "Distribution",
    "EvaluationResult",
    "EventType",
    "Exposure",
    "ExposureReporter",
    "FilePersistence",
    "Flag",
    "FlagChange",
    "FlagStore",
    "FlagentClient",
    "FlagentError",
    "FlagentEvent",
    "FlagentSSEClient",
    "FlagentWebSocketClient",
    "ForkedClient",
    "HandlerFailed",
    "IgnoredFlags",
    "MalformedMessage",
    "NotReady",
    "Persistence",
    "PersistenceFailed",
    "ReconnectConfig",
    "ReconnectExhausted",
    "ReducedFlag",
    "RequestFailed",
    "RequestTimeout",
    "RowChange",
    "Segment",
    "StoreSource",
    "StoreStatus",
    "Subscription",
    "TableStore",
    "Tag",
    "TransportName",
    "Variant",
    "WrongEventLoop",
]
