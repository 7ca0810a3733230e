"""The content encodings that a client accepts."""

__all__ = ["accepts_gzip"]


def accepts_gzip(header: bytes) -> bool:
    """Whether Accept-Encoding names gzip and does not refuse it (RFC 9110, section 12.5.3).

    >>> accepts_gzip(b"br, GZIP ; q=0.5"), accepts_gzip(b"gzip;q=0, identity"), accepts_gzip(b"x-gzip, *")
    (True, False, False)
    """
    for item in header.lower().split(b","):
        name, _, weight = item.partition(b";")
        if name.strip() == b"gzip":
            return weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False
