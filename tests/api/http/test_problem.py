"""Errors as problem documents."""

import json

import pytest

from api.http.problem import PROBLEM_SCHEMA, PROBLEM_TYPE, Problem
from cdc.core.log.position import Position
from cdc.errors import InvalidInput, OutOfReach, SourceError, TooBusy


def test_the_document_has_every_required_member_and_the_fields() -> None:
    problem = Problem(404, "unknown_table", "no table", fields={"parameter": "table"})
    document = json.loads(problem.body())
    assert document == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "no table",
        "code": "unknown_table",
        "parameter": "table",
    }
    assert set(PROBLEM_SCHEMA["required"]) <= document.keys()


def test_text_that_is_not_unicode_is_replaced() -> None:
    assert json.loads(Problem(400, "x", "a\udc80b").body())["detail"] == "a?b"


def test_headers_name_the_type_and_what_to_do() -> None:
    assert dict(Problem(400, "x", "y").headers()) == {
        b"content-type": PROBLEM_TYPE.encode(),
        b"cache-control": b"no-store",
    }
    headers = dict(Problem(503, "x", "y", retry_after_s=3, challenge="Bearer").headers())
    assert (headers[b"retry-after"], headers[b"www-authenticate"]) == (b"3", b"Bearer")


def test_invalid_input_is_a_bad_request_that_names_the_parameter() -> None:
    problem = Problem.of(InvalidInput("limit is too large", name="limit", code="invalid_parameter"))
    assert (problem.status, problem.code, problem.detail) == (400, "invalid_parameter", "limit is too large")
    assert problem.fields == {"parameter": "limit"}
    assert Problem.of_input(InvalidInput("no")).fields == {}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pruned", 410),
        ("log_replaced", 410),
        ("ahead", 410),
        ("too_far_back", 422),
        ("commit_too_large", 422),
        ("no_past", 501),
    ],
)
def test_out_of_reach_has_a_status_for_each_code(code: str, status: int) -> None:
    problem = Problem.of(OutOfReach("gone", code=code))
    assert (problem.status, problem.code, problem.fields) == (status, code, {})


def test_out_of_reach_says_where_the_log_begins() -> None:
    error = OutOfReach("gone", code="pruned", oldest=Position(7), oldest_at="2026-11-23T08:00:00Z")
    assert Problem.of(error).fields == {"oldestPosition": "7", "oldestTime": "2026-11-23T08:00:00Z"}


def test_a_busy_server_says_when_to_retry() -> None:
    problem = Problem.of(TooBusy("64 readers wait"))
    assert (problem.status, problem.code, problem.detail) == (503, "too_busy", "64 readers wait")
    assert problem.retry_after_s is not None


def test_the_text_of_the_driver_is_not_in_the_problem() -> None:
    problem = Problem.of(SourceError("connection to 10.0.0.7 failed"))
    assert (problem.status, problem.code, problem.retry_after_s) == (503, "database_unavailable", 1)
    assert b"10.0.0.7" not in problem.body()
