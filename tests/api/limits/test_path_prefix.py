"""The path under which a proxy serves the server."""

from ipaddress import ip_network

import pytest

from api.limits.client_address import Proxies
from api.limits.path_prefix import PathPrefix

TRUSTED = Proxies((ip_network("10.0.0.0/8"),))


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ([], "/set"),
        ([b"/flags"], "/flags"),
        ([b"/flags/"], "/flags"),
        ([b"/a/b-c_d.e~f"], "/a/b-c_d.e~f"),
        ([b"/outer", b"/inner"], "/outer/inner"),
        ([b"/"], ""),
        ([b"//evil.example"], "/set"),
        ([b"/", b"/evil.example"], "/evil.example"),
        ([b"/a", b"//evil.example"], "/set"),
        ([b"/\\evil.example"], "/set"),
        ([b"https://evil.example"], "/set"),
        ([b"evil.example"], "/set"),
        ([b"/a?token="], "/set"),
        ([b"/a#b"], "/set"),
        ([b"/a b"], "/set"),
        ([b"/a\tb"], "/set"),
        ([b"/%2f%2fevil.example"], "/set"),
        ([b"/a/../b"], "/set"),
        ([b"/.."], "/set"),
        ([b"/\xe4"], "/set"),
        ([b"/" + b"a" * 300], "/set"),
    ],
)
def test_only_a_plain_path_is_a_prefix(forwarded: list[bytes], expected: str) -> None:
    prefix = PathPrefix("/set", TRUSTED)
    headers = [(b"x-forwarded-prefix", value) for value in forwarded]
    assert prefix.of("10.1.2.3", headers) == expected


def test_the_header_of_another_peer_is_ignored() -> None:
    headers = [(b"x-forwarded-prefix", b"/flags")]
    assert PathPrefix("/set", TRUSTED).of("192.0.2.7", headers) == "/set"
    assert PathPrefix().of("127.0.0.1", headers) == ""
