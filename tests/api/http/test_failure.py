"""What a failed request is answered."""

import json

import pytest

from api.http.failure import answer_to, invalid_parameter
from api.http.problem import Problem
from cdc.errors import InvalidInput, SourceError, TooBusy


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Problem(404, "not_found", "gone"), 404, "not_found"),
        (InvalidInput("no", name="a"), 400, "invalid_parameter"),
        (TooBusy(), 503, "too_busy"),
    ],
)
def test_our_errors_are_problems(error: Exception, status: int, code: str) -> None:
    answer = answer_to(error)
    assert answer is not None
    assert isinstance(answer.body, bytes)
    assert (answer.status, json.loads(answer.body)["code"]) == (status, code)


def test_a_silent_database_is_logged_and_its_error_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    answer = answer_to(SourceError("password authentication failed"))
    assert answer is not None
    assert answer.status == 503
    assert isinstance(answer.body, bytes)
    assert b"password" not in answer.body
    assert [getattr(record, "action", None) for record in caplog.records] == ["request_failed"]


def test_other_errors_have_no_answer() -> None:
    assert answer_to(RuntimeError("x")) is None


def test_an_invalid_parameter_is_named() -> None:
    problem = invalid_parameter([{"loc": ("query", "limit"), "msg": "Input should be smaller"}])
    assert (problem.detail, problem.fields) == ("limit: Input should be smaller", {"parameter": "limit"})
