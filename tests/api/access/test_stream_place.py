"""Where a stream is opened, as the headers of its request say."""

import pytest

from api.access.stream_place import StreamPlace

APP = (b"origin", b"https://App.example")
OWN = (b"host", b"flags.example:8443")


@pytest.mark.parametrize(
    ("headers", "origin", "is_there"),
    [
        ([APP], "https://app.example", True),
        ([APP], "http://app.example", False),
        ([APP], "https://app.example:8443", False),
        ([(b"origin", b"null")], "https://app.example", False),
        ([OWN], "https://flags.example:8443", False),
        ([OWN, (b"sec-fetch-site", b"same-origin")], "https://flags.example:8443", True),
        ([OWN, (b"sec-fetch-site", b"same-origin")], "https://app.example", False),
        ([OWN, (b"sec-fetch-site", b"cross-site")], "https://flags.example:8443", False),
        ([OWN, (b"sec-fetch-site", b"same-origin"), APP], "https://flags.example:8443", False),
        ([(b"sec-fetch-site", b"same-origin")], "https://app.example", False),
        ([], "https://app.example", False),
    ],
)
def test_the_page_is_the_one_that_the_browser_names(
    headers: list[tuple[bytes, bytes]], origin: str, is_there: bool
) -> None:
    assert StreamPlace.of("/ws", headers).is_of(origin) is is_there
