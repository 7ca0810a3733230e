import pytest

from cdc.core.diagnosis import Session


@pytest.mark.parametrize(
    ("application", "text"),
    [
        ("psql", "session 7 of ann (psql), idle in transaction for 9 s"),
        ("", "session 7 of ann, idle in transaction for 9 s"),
    ],
)
def test_a_session_is_described_in_one_line(application: str, text: str) -> None:
    assert str(Session(7, "ann", application, "idle in transaction", 9.2)) == text
