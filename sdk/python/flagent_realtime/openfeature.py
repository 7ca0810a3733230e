"""An OpenFeature provider on a live store: evaluation uses no network. Requires the extra ``openfeature``.

    # The clients are the synchronous ones.
    api.set_provider_and_wait(FlagentProvider(lambda: FlagentClient("https://host")))

Every evaluation needs a targeting key: without one, a flag that divides its entities would give another variant at each
call. A missing or blank key is the error TARGETING_KEY_MISSING.

Values: a variant's value is its attachment's ``value`` or, without one, its key; an object is the whole attachment.
As a boolean, ``true``, ``on``, ``yes`` and ``enabled`` are true, ``false``, ``off``, ``no`` and ``disabled`` are false,
ignoring case. A number is written as in JSON; as an integer, any whole number (``3.0``, ``1e3``) is read. A text that
is no number, or a number whose digits would be lost, is the error TYPE_MISMATCH. A disabled flag, and a flag that gives
the entity no variant, return the caller's default.

Reasons are those of the server's OFREP: STATIC when every entity gets the variant, TARGETING_MATCH when a constraint
selected it, SPLIT when the rollout or the distribution did; STALE when the store is not READY.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar, Union

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import (
    ErrorCode,
    FlagNotFoundError,
    InvalidContextError,
    ProviderFatalError,
    ProviderNotReadyError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import AbstractProvider, Metadata

from ._evaluation import EvaluationResult
from ._values import ContextValue, is_blank, read_integer, read_number
from .errors import ClientClosed, FlagentError, ForkedClient, NotReady
from .flags import Flag
from .store import FlagChange, StoreStatus
from .sync import FlagentClient, FlagentSSEClient, FlagentWebSocketClient, FlagStore

__all__ = ["FlagentProvider"]

Client = Union[FlagentClient, FlagentWebSocketClient, FlagentSSEClient]

_T = TypeVar("_T")
_TRUE = frozenset({"true", "on", "yes", "enabled"})
_FALSE = frozenset({"false", "off", "no", "disabled"})


class FlagentProvider(AbstractProvider):
    """Resolves flags from a live local copy.

    *client* is a synchronous client, or a function that makes one. ``initialize`` starts it and ``shutdown`` ends the
    copy, so that a provider may be set again after it was replaced. A client that was given stays open: its maker
    closes it. A client that the function made is closed by ``shutdown``, and ``initialize`` makes a new one.

    *ready_timeout*, in seconds, bounds ``initialize``. *schema* is needed only when the server watches several.
    """

    def __init__(
        self,
        client: Client | Callable[[], Client],
        *,
        ready_timeout: float = 10.0,
        schema: str | None = None,
    ) -> None:
        super().__init__()
        self._given = client
        self._ready_timeout = ready_timeout
        self._schema = schema
        self._client: Client | None = None
        self._store: FlagStore | None = None
        self._is_live = False
        self._was_late = False

    def get_metadata(self) -> Metadata:
        return Metadata(name="flagent-realtime")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        try:
            (self._store or self._open()).ready(self._ready_timeout)
        except NotReady as cause:
            self._was_late = True
            raise ProviderNotReadyError(str(cause)) from cause
        except FlagentError as cause:
            raise ProviderFatalError(str(cause)) from cause

    def _open(self) -> FlagStore:
        client = self._given() if callable(self._given) else self._given
        self._client = client
        client.start()
        store = self._store = FlagStore(client)
        store.on_status(lambda status: self._status_changed(store, status))
        store.on_change(lambda change: self._flag_changed(store, change))
        return store

    def shutdown(self) -> None:
        client, store, self._client, self._store = self._client, self._store, None, None
        self._is_live = self._was_late = False
        if store is not None:
            # The client may have been closed already, by its maker.
            with suppress(ClientClosed, ForkedClient):
                store.close()
        if client is not None and client is not self._given:
            client.close()

    def _status_changed(self, store: FlagStore, status: StoreStatus) -> None:
        if store is not self._store:
            return
        if status is StoreStatus.READY:
            # OpenFeature emits the first READY itself, when initialize has returned.
            if self._is_live or self._was_late:
                self.emit_provider_ready(ProviderEventDetails())
            self._is_live = True
        elif status is StoreStatus.STALE:
            self.emit_provider_stale(ProviderEventDetails(message="the freshness of the flags cannot be confirmed"))
        elif status is StoreStatus.ERROR and self._client is not None:
            self.emit_provider_error(
                ProviderEventDetails(message=str(self._client.failure), error_code=ErrorCode.PROVIDER_FATAL)
            )

    def _flag_changed(self, store: FlagStore, change: FlagChange) -> None:
        # The first snapshot arrives before the first READY: it is the configuration, not a change of it.
        if self._is_live and store is self._store:
            self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=[change.key]))

    # ------------------------------------------------------------- resolving

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        return self._resolve(flag_key, default_value, evaluation_context, _boolean)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        return self._resolve(flag_key, default_value, evaluation_context, _text)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        return self._resolve(flag_key, default_value, evaluation_context, lambda result: read_integer(_text(result)))

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        return self._resolve(flag_key, default_value, evaluation_context, lambda result: read_number(_text(result)))

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[Any] | Mapping[str, Any],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[Any] | Mapping[str, Any]]:
        return self._resolve(flag_key, default_value, evaluation_context, _attachment)

    def _resolve(
        self,
        flag_key: str,
        default: _T,
        context: EvaluationContext | None,
        read: Callable[[EvaluationResult], _T],
    ) -> FlagResolutionDetails[_T]:
        store = self._store
        if store is None or store.status is StoreStatus.INITIALIZING:
            raise ProviderNotReadyError("no flags have arrived yet; the first snapshot is pending")
        entity_id, entity_context = _entity(context)
        flag = store.get(flag_key, self._schema)
        if flag is None:
            raise FlagNotFoundError(f"flag {flag_key!r} does not exist")
        if not flag.enabled:
            return FlagResolutionDetails(default, reason=Reason.DISABLED)
        # By id: a key that consists of digits would be looked up among the ids first.
        result = store.evaluate(
            flag_id=flag.id, entity_id=entity_id, entity_context=entity_context, schema=self._schema
        )
        if result.variant_id is None:
            return FlagResolutionDetails(default, reason=Reason.DEFAULT)
        try:
            value = read(result)
        except ValueError as cause:
            raise TypeMismatchError(f"variant {result.variant_key!r} of {flag_key!r}: {cause}") from cause
        return FlagResolutionDetails(
            value,
            reason=_reason(store, flag, result),
            variant=result.variant_key,
            flag_metadata={"flagID": result.flag_id, "snapshotID": result.flag_snapshot_id},
        )


def _reason(store: FlagStore, flag: Flag, result: EvaluationResult) -> Reason:
    if store.status is not StoreStatus.READY:
        return Reason.STALE
    segment = next((each for each in flag.segments if each.id == result.segment_id), None)
    if segment is None:
        return Reason.UNKNOWN
    if segment.rollout_percent < 100 or sum(share.percent > 0 for share in segment.distributions) > 1:
        return Reason.SPLIT
    is_for_all = not segment.constraints and segment.id == flag.segments[0].id
    return Reason.STATIC if is_for_all else Reason.TARGETING_MATCH


def _entity(context: EvaluationContext | None) -> tuple[str, dict[str, ContextValue]]:
    key = None if context is None else context.targeting_key
    if key is None or (isinstance(key, str) and is_blank(key)):
        raise TargetingKeyMissingError("the context has no targeting key; pass the id of the user or other entity")
    if not isinstance(key, str):
        raise InvalidContextError(f"the targeting key must be a string; it is a {type(key).__name__}: pass str(…)")
    return key, _context_values({} if context is None else context.attributes)


def _text(result: EvaluationResult) -> str:
    attachment = result.variant_attachment or {}
    return attachment.get("value", result.variant_key or "")


def _boolean(result: EvaluationResult) -> bool:
    text = _text(result).lower()
    if text not in _TRUE | _FALSE:
        raise ValueError(f"{text!r} is not a boolean; true, on, yes, enabled, false, off, no and disabled are")
    return text in _TRUE


def _attachment(result: EvaluationResult) -> Mapping[str, str]:
    if result.variant_attachment is None:
        raise ValueError("the variant has no attachment, and an object value requires one")
    return result.variant_attachment


def _context_values(attributes: Mapping[str, Any]) -> dict[str, ContextValue]:
    """Attributes as values for constraints: times as ISO-8601, structures as JSON text. A number that is not finite,
    which JSON cannot hold, counts as missing."""
    values: dict[str, ContextValue] = {}
    for name, value in attributes.items():
        if isinstance(value, float) and not math.isfinite(value):
            continue
        if value is None or isinstance(value, (str, bool, int, float)):
            values[name] = value
        elif isinstance(value, datetime):
            values[name] = value.isoformat()
        else:
            values[name] = json.dumps(value, default=str, separators=(",", ":"))
    return values
