"""Suggests the name that somebody who mistyped one may have meant.

>>> did_you_mean("flag_update", ["flag_updated", "flag_deleted"])
'; did you mean flag_updated?'
>>> did_you_mean("xyz", ["flag_updated"])
''
"""

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(given: str, names: Iterable[str]) -> str:
    """The end of a message about a name that does not exist: the nearest of `names`, or nothing if none is near."""
    near = difflib.get_close_matches(given, list(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""
