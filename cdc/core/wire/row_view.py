"""An event about a row as a filter makes its subscriber see it."""

from dataclasses import replace
from typing import Any

from ..flags.events import Event, EventType
from ..log.schema_change import SchemaChange
from ..row_filter.projection import key_in, only_columns
from ..row_filter.row_filter import RowView

__all__ = ["seen_event"]


def seen_event(event: Event, view: RowView) -> Event:
    """The same event where nothing is left out, else one that holds no more than may be seen.

    A row that has left is deleted, with its key alone; where the table has no key, with the row as it was.
    """
    detail = event.detail
    if view.moved is None and view.columns is None and view.has_key:
        return event
    if event.type is EventType.SCHEMA_CHANGED:
        change = SchemaChange.of_json(detail).within(view.columns)
        return event if change is None else replace(event, detail={**detail, **change.to_json()})
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
