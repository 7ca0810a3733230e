"""Errors of the pure core; `cdc.errors` draws the whole tree."""

__all__ = [
    "FlagentCdcError",
    "InvalidEventId",
    "InvalidInput",
    "InvalidMessage",
    "InvalidPattern",
    "UndecidedMatch",
]


class FlagentCdcError(Exception):
    """Something in flagent-cdc failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class InvalidInput(FlagentCdcError, ValueError):
    """An input value is invalid.

    `name` is the parameter or field, `code` a stable snake_case error code.
    """

    def __init__(self, message: str, *, name: str = "", code: str = "invalid_parameter") -> None:
        super().__init__(message)
        self.name = name
        self.code = code


class InvalidEventId(InvalidInput):
    """An event id does not have the form `position-index@log`."""

    def __init__(self, text: str) -> None:
        shown = text if len(text) <= 64 else text[:64] + "…"
        super().__init__(
            f"{shown!r} is not an event id; use an id that the server sent, such as '1042-0@k7q2mx'",
            name="lastEventId",
            code="invalid_event_id",
        )


class InvalidMessage(InvalidInput):
    """A WebSocket message is invalid; `request_id` is that of the message, None if it could not be read."""

    def __init__(self, message: str, *, name: str = "", code: str, request_id: str | None = None) -> None:
        super().__init__(message, name=name, code=code)
        self.request_id = request_id


class InvalidPattern(FlagentCdcError, ValueError):
    """The text is not a valid Java regular expression."""


class UndecidedMatch(FlagentCdcError):
    """A regular expression exceeded its time or memory limit before its match was decided."""
