"""Which content encodings a client accepts."""

import pytest

from api.http.content_encoding import accepts_gzip


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (b"gzip", True),
        (b"GZIP", True),
        (b"br, gzip;q=0.5", True),
        (b"deflate , gzip ; q=1.0", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"x-gzip", False),
        (b"*", False),
        (b"identity", False),
        (b"", False),
    ],
)
def test_gzip_is_used_only_for_a_client_that_names_it(header: bytes, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted
