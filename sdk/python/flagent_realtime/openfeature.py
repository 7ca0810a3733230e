"""An OpenFeature provider on a live store: evaluation uses no network. Requires the extra ``openfeature``.

    api.set_provider_and_wait(FlagentProvider(FlagentWebSocketClient("wss://host/ws")))   # the synchronous client

Values: a variant's value is its attachment's ``value`` or, without one, its key; an object is the whole attachment.
As a boolean, ``true``, ``on``, ``yes`` and ``enabled`` are true, ``false``, ``off``, ``no`` and ``disabled`` are false,
ignoring case. A disabled flag, and a flag that gives the entity no variant, return the caller's default.

Reasons are those of the server's OFREP: STATIC when every entity gets the variant, TARGETING_MATCH when a constraint
selected it, SPLIT when the rollout or the distribution did; STALE when the store is not READY.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import (
    ErrorCode,
    FlagNotFoundError,
    ProviderFatalError,
    ProviderNotReadyError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import AbstractProvider, Metadata

from ._evaluation import ContextValue, EvaluationResult
from .errors import FlagentError, NotReady
from .flags import Flag
from .store import FlagChange, StoreStatus
from .sync import FlagentSSEClient, FlagentWebSocketClient, FlagStore

__all__ = ["FlagentProvider"]

_T = TypeVar("_T")
_TRUE = frozenset({"true", "on", "yes", "enabled"})
_FALSE = frozenset({"false", "off", "no", "disabled"})


class FlagentProvider(AbstractProvider):
    """Resolves flags from a live local copy. ``initialize`` starts the client, ``shutdown`` closes it.

    *ready_timeout*, in seconds, bounds ``initialize``. *schema* is needed only when the server watches several.
    """

    def __init__(
        self,
        client: FlagentWebSocketClient | FlagentSSEClient,
        *,
        ready_timeout: float = 10.0,
        schema: str | None = None,
    ) -> None:
        super().__init__()
        self._client = client
        self._ready_timeout = ready_timeout
        self._schema = schema
        self._store = FlagStore(client)
        self._is_live = False
        self._was_late = False
        self._store.on_status(self._status_changed)
        self._store.on_change(self._flag_changed)

    def get_metadata(self) -> Metadata:
        return Metadata(name="flagent-realtime")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        self._client.start()
        try:
            self._store.ready(self._ready_timeout)
        except NotReady as cause:
            self._was_late = True
            raise ProviderNotReadyError(str(cause)) from cause
        except FlagentError as cause:
            raise ProviderFatalError(str(cause)) from cause

    def shutdown(self) -> None:
        self._client.close()

    def _status_changed(self, status: StoreStatus) -> None:
        if status is StoreStatus.READY:
            # OpenFeature emits the first READY itself, when initialize has returned.
            if self._is_live or self._was_late:
                self.emit_provider_ready(ProviderEventDetails())
            self._is_live = True
        elif status is StoreStatus.STALE:
            self.emit_provider_stale(ProviderEventDetails(message="the freshness of the flags cannot be confirmed"))
        elif status is StoreStatus.ERROR:
            self.emit_provider_error(
                ProviderEventDetails(message=str(self._client.failure), error_code=ErrorCode.PROVIDER_FATAL)
            )

    def _flag_changed(self, change: FlagChange) -> None:
        # The first snapshot arrives before the first READY: it is the configuration, not a change of it.
        if self._is_live:
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
        return self._resolve(flag_key, default_value, evaluation_context, lambda result: int(_text(result)))

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        return self._resolve(flag_key, default_value, evaluation_context, lambda result: float(_text(result)))

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
        if self._store.status is StoreStatus.INITIALIZING:
            raise ProviderNotReadyError("no flags have arrived yet; the first snapshot is pending")
        flag = self._store.get(flag_key, self._schema)
        if flag is None:
            raise FlagNotFoundError(f"flag {flag_key!r} does not exist")
        if not flag.enabled:
            return FlagResolutionDetails(default, reason=Reason.DISABLED)
        # By id: a key that consists of digits would be looked up among the ids first.
        result = self._store.evaluate(
            flag_id=flag.id,
            entity_id=None if context is None else context.targeting_key,
            entity_context=_context_values({} if context is None else context.attributes),
            schema=self._schema,
        )
        if result.variant_id is None:
            return FlagResolutionDetails(default, reason=Reason.DEFAULT)
        try:
            value = read(result)
        except ValueError as cause:
            raise TypeMismatchError(f"variant {result.variant_key!r} of {flag_key!r}: {cause}") from cause
        return FlagResolutionDetails(
            value,
            reason=self._reason(flag, result),
            variant=result.variant_key,
            flag_metadata={"flagID": result.flag_id, "snapshotID": result.flag_snapshot_id},
        )

    def _reason(self, flag: Flag, result: EvaluationResult) -> Reason:
        if self._store.status is not StoreStatus.READY:
            return Reason.STALE
        segment = next((each for each in flag.segments if each.id == result.segment_id), None)
        if segment is None:
            return Reason.UNKNOWN
        if segment.rollout_percent < 100 or sum(share.percent > 0 for share in segment.distributions) > 1:
            return Reason.SPLIT
        is_for_all = not segment.constraints and segment.id == flag.segments[0].id
        return Reason.STATIC if is_for_all else Reason.TARGETING_MATCH


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
    """Attributes as values for constraints: times as ISO-8601, structures as JSON text."""
    values: dict[str, ContextValue] = {}
    for name, value in attributes.items():
        if value is None or isinstance(value, (str, bool, int, float)):
            values[name] = value
        elif isinstance(value, datetime):
            values[name] = value.isoformat()
        else:
            values[name] = json.dumps(value, default=str, separators=(",", ":"))
    return values
