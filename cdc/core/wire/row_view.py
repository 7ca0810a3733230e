"""An event about a row as a filter makes its subscriber see it.

>>> only_columns('{"id":7,"total":1.10,"secret":"x"}', frozenset({"id", "total"}))
'{"id":7,"total":1.10}'
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..flags.events import Event
from ..row_filter.row_filter import RowView
from ..text.exact_json import JsonText, members

__all__ = ["key_in", "only_columns", "seen_event"]


def seen_event(event: Event, view: RowView) -> Event:
    """The same event where nothing is left out, else one that holds no more than may be seen.

    A row that has left is deleted, with its key alone; where the table has no key, with the row as it was.
    """
    detail = event.detail
    if view.moved is None and view.columns is None and view.has_key:
        return event
    seen: dict[str, Any] = {**detail}
    if not view.has_key:
        seen["key"] = None
    if view.moved == "in":
        seen["before"] = None
    elif view.moved == "out":
        seen["after"] = None
        if detail["key"] is not None:
            seen["key"], seen["before"] = key_in(detail["key"], detail["before"]), None
    if view.moved is not None:
        seen["changed"] = []
    if view.columns is not None:
        for name in ("before", "after"):
            if seen[name] is not None:
                seen[name] = only_columns(seen[name], view.columns)
        seen["changed"] = [name for name in seen["changed"] if name in view.columns]
    if view.moved is not None:
        seen["moved"] = view.moved
    return replace(event, type=view.type_of(event.type), detail=seen)


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
