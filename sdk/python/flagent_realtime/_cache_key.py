"""The key under which a store is saved: the server, the selection, and the credential. Pure.

The key contains the hash of the credential, so that the flags of one user are never shown to another.
"""

from __future__ import annotations

import hashlib
import json
from urllib.parse import urlsplit

from ._selection import Selection

_SCHEMES = {"ws": "http", "wss": "https"}
_DEFAULT_PORTS = {"http": 80, "https": 443}


def normal_url(url: str) -> str:
    """The address of a server without what does not name it: user, query, fragment, default port, last slash.

    >>> normal_url("wss://user@Flags.Example:443/ws/?token=t")
    'https://flags.example/ws'
    """
    parts = urlsplit(url)
    scheme = _SCHEMES.get(parts.scheme.lower(), parts.scheme.lower())
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(scheme)) else f":{parts.port}"
    return f"{scheme}://{host}{port}{parts.path.rstrip('/')}"


def selection_text(selection: Selection) -> str:
    """The selection as canonical JSON: sorted by code point, ids as numbers, without blanks."""
    document = {
        "all": selection.everything,
        "flags": sorted(selection.flags),
        "ids": sorted(selection.flag_ids),
        "schemas": sorted(selection.schemas),
        "tags": sorted(selection.tags),
        "types": sorted(selection.types),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def cache_key(url: str, selection: Selection, credential: str | None) -> str:
    """64 hex digits. *credential* ``None``: the client has none."""
    hashed = "-" if credential is None else hashlib.sha256(credential.encode()).hexdigest()
    text = "\n".join((normal_url(url), selection_text(selection), hashed))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
