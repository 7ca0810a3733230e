"""The headers that every response gets."""

from api.http.cache_policy import CachePolicy
from api.http.response_headers import complete_headers

POLICY = CachePolicy(is_private=False)


def completed(*given: tuple[bytes, bytes], stale_s: int | None = None) -> dict[bytes, bytes]:
    cors = [(b"vary", b"origin"), (b"access-control-allow-origin", b"*")]
    return dict(complete_headers(given, stale_s=stale_s, cors=cors, cache_policy=POLICY))


def test_data_gets_the_headers_of_security_cors_and_caches() -> None:
    headers = completed((b"Content-Type", b"application/json"))
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"content-security-policy"].startswith(b"default-src 'none'")
    assert headers[b"access-control-allow-origin"] == b"*"
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"vary"] == b"origin"


def test_what_an_answer_has_already_is_kept() -> None:
    headers = completed((b"x-frame-options", b"SAMEORIGIN"), (b"vary", b"accept-encoding"))
    assert headers[b"x-frame-options"] == b"SAMEORIGIN"
    assert headers[b"vary"] == b"accept-encoding, origin"


def test_pages_get_no_policy_for_data() -> None:
    assert b"content-security-policy" not in completed((b"content-type", b"text/html; charset=utf-8"))


def test_a_stale_answer_is_marked() -> None:
    assert completed(stale_s=4)[b"flagent-stale"] == b"4"
    assert b"flagent-stale" not in completed()
