import pytest

from cdc.core.diagnosis import State, UnreadableFacts, exit_code

from .examples import of_server, of_stream, states


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"error": "refused"}, "reachable", "cannot be reached: refused"),
        ({"error": "self-signed", "error_is_tls": True}, "reachable", "TLS fails"),
        ({"version": None}, "server", "is not a flagent-cdc server"),
        ({"clock_ahead_s": -90.0}, "server_clock", "90 s behind"),
        ({"ready": False, "listener": "disconnected", "reason": "gone"}, "ready", "listener is disconnected: gone"),
        ({"listener": "polling", "reason": "a pool"}, "ready", "polls instead of listening: a pool"),
        ({"has_credential": False}, "open", "everyone who reaches"),
        ({"certificate_days": 3.0}, "server_certificate", "expires in 3 days"),
        ({"log_in_database": "another"}, "same_log", "has another"),
        ({"newest_in_database": 9}, "lag", "2 commits behind"),
        ({"unreadable": (UnreadableFacts("a.b", "too_large", 2, 7),)}, "unreadable_rows", "2 changes of a.b"),
        ({"websocket": "the upgrade is answered with 400"}, "websocket", "answered with 400"),
    ],
)
def test_a_server_is_broken(changes: dict[str, object], check: str, words: str) -> None:
    found = states(of_server(**changes))
    assert found.keys() == {check}
    assert words in found[check]


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"status": 502, "problem": "bad gateway"}, "stream", "answers 502: bad gateway"),
        ({"first_byte_s": None, "greets": False}, "buffering", "nothing of the stream arrives"),
        ({"first_byte_s": 4.0}, "buffering", "took 4.0 s"),
        ({"greets": False, "content_type": "text/html"}, "stream", "not a flagent-cdc event stream (text/html)"),
        ({"coding": "br"}, "compression", "arrives as br"),
        ({"gzip_works": False}, "compression", "does not arrive at once"),
        ({"cache_control": "max-age=60"}, "caching", "max-age=60"),
        ({"keep_alive": False}, "keep_alive", "do not arrive every 30 s"),
        ({"is_fresh": False}, "fresh", "cannot confirm"),
    ],
)
def test_a_stream_is_broken(changes: dict[str, object], check: str, words: str) -> None:
    found = states(of_stream(**changes))
    assert found.keys() == {check}
    assert words in found[check]


def test_a_stream_that_requires_a_credential_could_not_be_checked() -> None:
    findings = of_stream(status=401, problem="credential_missing")
    assert "requires a credential" in states(findings, State.UNCHECKED)["stream"]
    assert exit_code(findings) == 2
