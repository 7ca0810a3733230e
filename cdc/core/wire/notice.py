"""Notices: the messages of a relay in its JetStream stream besides commits."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..log.position import LogId, Position
from ..subscription.resume import ResyncReason

__all__ = ["Notice", "NoticeKind"]

_KIND, _LOG, _POSITION = "Flagent-Cdc-Notice", "Flagent-Cdc-Log", "Flagent-Cdc-Position"


class NoticeKind(StrEnum):
    """The kinds of notices."""

    ORIGIN = "origin"
    SCHEMAS = "schemas"


@dataclass(frozen=True, slots=True)
class Notice:
    """An origin or a list of schemas.

    Origin: the following messages continue `position` of `log`, not the messages before; `reason` says why. Schemas:
    from here on `schemas` are all attached schemas; an origin names them too.
    """

    kind: NoticeKind
    log: LogId
    position: Position
    schemas: tuple[str, ...]
    reason: ResyncReason = ResyncReason.LOG_REPLACED

    def headers(self) -> dict[str, str]:
        """The headers of the message."""
        return {_KIND: self.kind, _LOG: self.log, _POSITION: str(self.position)}

    def data(self) -> bytes:
        """The body of the message."""
        fields = {"log": self.log, "position": str(self.position), "schemas": self.schemas, "reason": self.reason}
        return json.dumps(fields).encode()

    @classmethod
    def read(cls, headers: Mapping[str, str] | None, data: bytes) -> "Notice | None":
        """Parse a message; None if it is not a notice."""
        try:
            kind = NoticeKind((headers or {})[_KIND])
            raw = json.loads(data)
            schemas = tuple(map(str, raw["schemas"]))
            reason = ResyncReason(raw["reason"])
            return cls(kind, LogId(str(raw["log"])), Position(int(raw["position"])), schemas, reason)
        except (KeyError, ValueError, TypeError):
            return None
