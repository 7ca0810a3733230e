"""Complete answers."""

from api.http.answer import Answer, json_answer, problem_answer
from api.http.problem import Problem


def test_the_length_follows_the_other_headers() -> None:
    answer = json_answer('{"a":"ü"}', (b"etag", b'"x"'))
    assert answer.with_length() == [
        (b"content-type", b"application/json"),
        (b"etag", b'"x"'),
        (b"content-length", b"10"),
    ]


def test_an_answer_without_content_has_no_length() -> None:
    assert Answer(304, ((b"etag", b'"x"'),), b"").with_length() == [(b"etag", b'"x"')]


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert json_answer('"\ud800"').body == b'"?"'


def test_a_problem_keeps_its_status_and_headers() -> None:
    answer = problem_answer(Problem(429, "too_many_requests", "slowly", retry_after_s=3))
    assert answer.status == 429
    assert (b"retry-after", b"3") in answer.headers
