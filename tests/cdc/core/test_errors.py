import pytest

from cdc.core.errors import (
    FlagentCdcError,
    InvalidEventId,
    InvalidInput,
    InvalidMessage,
    InvalidPattern,
    UndecidedMatch,
)


@pytest.mark.parametrize("error", [FlagentCdcError, InvalidPattern, UndecidedMatch])
def test_the_docstring_is_the_default_message(error: type[FlagentCdcError]) -> None:
    assert str(error()) == (error.__doc__ or "").strip()
    assert str(error("what happened")) == "what happened"


def test_invalid_input_names_its_field_and_code() -> None:
    error = InvalidInput("too large", name="batchMs")
    assert (str(error), error.name, error.code) == ("too large", "batchMs", "invalid_parameter")
    assert isinstance(error, ValueError)


def test_an_invalid_event_id_shows_at_most_64_characters() -> None:
    error = InvalidEventId("x" * 65)
    assert str(error).startswith(repr("x" * 64 + "…"))
    assert (error.name, error.code) == ("lastEventId", "invalid_event_id")
    assert str(InvalidEventId("x" * 64)).startswith(repr("x" * 64))


def test_an_invalid_message_keeps_the_request_it_answers() -> None:
    error = InvalidMessage("unknown", code="unknown_type", request_id="7")
    assert (error.name, error.code, error.request_id) == ("", "unknown_type", "7")
    assert isinstance(error, InvalidInput)
