"""What a relay says in its stream besides commits."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..log.position import LogId, Position
from .snapshot import ResyncReason

__all__ = ["Notice", "NoticeKind"]

_KIND, _LOG, _POSITION = "Flagent-Cdc-Notice", "Flagent-Cdc-Log", "Flagent-Cdc-Position"


class NoticeKind(StrEnum):
    ORIGIN = "origin"
    SCHEMAS = "schemas"


@dataclass(frozen=True, slots=True)
class Notice:
    """An origin: what follows continues `position` of `log`, and nothing before it does; `reason` tells why.

    Schemas: from here on `schemas` are all those whose tables are Flagent's; an origin names them too.
    """

    kind: NoticeKind
    log: LogId
    position: Position
    schemas: tuple[str, ...]
    reason: ResyncReason = ResyncReason.LOG_REPLACED

    def headers(self) -> dict[str, str]:
        return {_KIND: self.kind, _LOG: self.log, _POSITION: str(self.position)}

    def data(self) -> bytes:
        said = {"log": self.log, "position": str(self.position), "schemas": self.schemas, "reason": self.reason}
        return json.dumps(said).encode()

    @classmethod
    def read(cls, headers: Mapping[str, str] | None, data: bytes) -> "Notice | None":
        """None where the message is not one of these."""
        try:
            kind = NoticeKind((headers or {})[_KIND])
            raw = json.loads(data)
            schemas = tuple(map(str, raw["schemas"]))
            reason = ResyncReason(raw["reason"])
            return cls(kind, LogId(str(raw["log"])), Position(int(raw["position"])), schemas, reason)
        except (KeyError, ValueError, TypeError):
            return None
