"""Parts of a row as text: the values stay the texts that they are.

>>> only_columns('{"id":7,"total":1.10,"secret":"x"}', frozenset({"id", "total"}))
'{"id":7,"total":1.10}'
"""

import json
from collections.abc import Mapping

from ..text.exact_json import JsonText, members

__all__ = ["key_in", "only_columns"]


def only_columns(row: str, columns: frozenset[str]) -> JsonText:
    """Some columns of a row, with the texts of their values, in the row's order."""
    kept = [f"{json.dumps(name, ensure_ascii=False)}:{text}" for name, text in members(row).items() if name in columns]
    return JsonText(f"{{{','.join(kept)}}}")


def key_in(key: str, row: str | None) -> JsonText:
    """The columns of a key as they are in another image of the row; the key itself where these are unknown."""
    found: Mapping[str, str] = {} if row is None else members(row)
    names = list(members(key))
    if not all(name in found for name in names):
        return JsonText(key)
    # Spelled as PostgreSQL spells the keys of changes, so that clients may compare the texts.
    inside = ", ".join(f"{json.dumps(name, ensure_ascii=False)} : {found[name]}" for name in names)
    return JsonText(f"{{{inside}}}" if len(names) == 1 else f"{{ {inside} }}")
