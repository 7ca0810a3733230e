"""What pure code raises; the whole tree is drawn in `cdc.errors`."""

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
    """A value given from outside is not of the allowed form.

    `name` is the parameter or field, `code` a stable snake_case word for programs.
    """

    def __init__(self, message: str, *, name: str = "", code: str = "invalid_parameter") -> None:
        super().__init__(message)
        self.name = name
        self.code = code


class InvalidEventId(InvalidInput):
    """An event id is not of the form `position-index@log`."""

    def __init__(self, text: str) -> None:
        shown = text if len(text) <= 64 else text[:64] + "…"
        super().__init__(
            f"{shown!r} is not an event id; ids look like '1042-0@k7q2mx' and are given by the server",
            name="lastEventId",
            code="invalid_event_id",
        )


class InvalidMessage(InvalidInput):
    """A WebSocket message cannot be accepted; `request_id` is the message's own, None where it could not be read."""

    def __init__(self, message: str, *, name: str = "", code: str, request_id: str | None = None) -> None:
        super().__init__(message, name=name, code=code)
        self.request_id = request_id


class InvalidPattern(FlagentCdcError, ValueError):
    """A text is not a regular expression of Java."""


class UndecidedMatch(FlagentCdcError):
    """A regular expression used up its time or memory before it was known whether it matches."""
