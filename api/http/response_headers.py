"""The headers that every response gets: for caches, for CORS, for security, and the mark of a stale one."""

from collections.abc import Iterable, Sequence

from .cache_policy import CachePolicy
from .staleness import STALE_HEADER

__all__ = ["complete_headers"]

Header = tuple[bytes, bytes]

_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)

# For responses other than pages: a browser must not render or run them.
_DATA_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


def complete_headers(
    given: Iterable[Header], *, stale_s: int | None, cors: Sequence[Header], cache_policy: CachePolicy
) -> list[Header]:
    """The given headers, names in lower case, and those of every response that are not among them.

    `stale_s` is that of `staleness`, None for a response that is not stale.
    """
    headers = [(name.lower(), value) for name, value in given]
    present = dict(headers)
    if stale_s is not None:
        headers.append((STALE_HEADER, str(stale_s).encode()))
    headers += [(name, value) for name, value in (*_SECURITY_HEADERS, *cors) if name == b"vary" or name not in present]
    if _DATA_POLICY[0] not in present and not present.get(b"content-type", b"").startswith(b"text/html"):
        headers.append(_DATA_POLICY)
    return cache_policy.apply(headers)
