"""Query parameters as Flagent's web server reads them."""

from urllib.parse import unquote_plus

__all__ = ["first_values"]


def first_values(query: bytes) -> dict[str, str]:
    """Each parameter with its first value; one without `=` is absent.

    >>> first_values(b"tags=a%2Cb&tags=c&enabled&key=")
    {'tags': 'a,b', 'key': ''}
    """
    values: dict[str, str] = {}
    for pair in query.decode("latin-1").split("&"):
        name, equals, value = pair.partition("=")
        if equals:
            values.setdefault(unquote_plus(name), unquote_plus(value))
    return values
