"""What changed between two states of a flag, in short phrases for people.

Flags are in the REST shape. `part` functions compare only what one type of event is about, so that the events of one
commit do not repeat each other.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cdc.core.flags.flag import BOOKKEEPING
from cdc.core.text.exact_json import JsonText

__all__ = [
    "describe_flag",
    "difference_of_distributions",
    "difference_of_flag",
    "difference_of_rows",
    "difference_of_segment",
    "difference_of_variant",
    "plain",
]

JsonObject = Mapping[str, Any]

# Sent as other events, or bookkeeping that no event is sent for.
_NOT_CONTENT = frozenset({"id", "segments", "variants", "tags", "schema", *BOOKKEEPING})
_LONGEST = 48


def plain(value: object) -> str:
    """A value as one line that cannot steer a terminal: every character that is not printable is escaped."""
    text = value if isinstance(value, str) else _literal(value)
    text = text[: _LONGEST + 1]
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


def _literal(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return ", ".join(map(_literal, value)) or "none"
        case dict():
            return "{" + ", ".join(f"{name}: {_literal(each)}" for name, each in value.items()) + "}"
        case _:
            return str(value)


def _quoted(value: object) -> str:
    return f'"{plain(value)}"' if isinstance(value, str) and not isinstance(value, JsonText) else plain(value)


def _from_to(name: str, before: object, after: object) -> str:
    return f"{plain(name)} {_quoted(before)} → {_quoted(after)}"


def _by_id(items: Sequence[JsonObject]) -> dict[Any, JsonObject]:
    return {item["id"]: item for item in items}


def _added_and_removed(
    before: Sequence[JsonObject], after: Sequence[JsonObject], show: Callable[[JsonObject], str]
) -> list[str]:
    """`+ x` and `- x`; an item with the same id that reads differently is `old → new`."""
    old, new = _by_id(before), _by_id(after)
    gone = [f"- {show(item)}" for id_, item in old.items() if id_ not in new]
    come = [f"+ {show(item)}" for id_, item in new.items() if id_ not in old]
    other = [
        f"{show(old[id_])} → {show(item)}" for id_, item in new.items() if id_ in old and show(old[id_]) != show(item)
    ]
    return gone + other + come


def difference_of_flag(before: JsonObject, after: JsonObject) -> list[str]:
    """The flag's own columns, its tags, and which variants and segments it has."""
    changed = [
        _from_to(name, before.get(name), value)
        for name, value in after.items()
        if name not in _NOT_CONTENT and before.get(name) != value
    ]
    tags = _added_and_removed(before["tags"], after["tags"], lambda tag: f"tag {plain(tag['value'])}")
    return changed + tags


def _constraint(item: JsonObject) -> str:
    return f"{plain(item['property'])} {plain(item['operator'])} {plain(item['value'])}"


def _name(segment: JsonObject) -> str:
    return f'segment "{plain(segment["description"])}"' if segment.get("description") else f"segment {segment['id']}"


def difference_of_segment(before: JsonObject | None, after: JsonObject | None) -> list[str]:
    """One segment and its constraints; None if it does not exist."""
    if after is None:
        return [f"- {_name(before)}"] if before else ["- segment"]
    if before is None:
        rules = [_constraint(item) for item in after["constraints"]]
        return [f"+ {_name(after)}", f"rollout {after['rolloutPercent']} %", *rules]
    changed = []
    if before["rolloutPercent"] != after["rolloutPercent"]:
        changed.append(f"rollout {before['rolloutPercent']} → {after['rolloutPercent']} %")
    if before["rank"] != after["rank"]:
        changed.append(f"rank {before['rank']} → {after['rank']}")
    if before["description"] != after["description"]:
        changed.append(_from_to("description", before["description"], after["description"]))
    changed += _added_and_removed(before["constraints"], after["constraints"], _constraint)
    return [f"{_name(after)}: {changed[0]}", *changed[1:]] if changed else []


def difference_of_distributions(before: Sequence[JsonObject], after: Sequence[JsonObject]) -> list[str]:
    """The shares of a segment's variants, by variant: a replaced row has a new id and is the same share."""
    old = {item["variantID"]: item for item in before}
    new = {item["variantID"]: item for item in after}
    phrases = []
    for variant in {**old, **new}:
        was = old[variant]["percent"] if variant in old else 0
        is_now = new[variant]["percent"] if variant in new else 0
        name = plain((new.get(variant) or old[variant]).get("variantKey") or f"variant {variant}")
        if was != is_now:
            phrases.append(f"{name} {was} → {is_now} %")
    return phrases


def difference_of_variant(before: JsonObject | None, after: JsonObject | None) -> list[str]:
    """One variant; None if it does not exist."""
    if after is None:
        return [f"- variant {plain(before['key'])}"] if before else ["- variant"]
    if before is None:
        attachment = [f"attachment {plain(after['attachment'])}"] if after.get("attachment") else []
        return [f"+ variant {plain(after['key'])}", *attachment]
    changed = [
        f"variant {plain(after['key'])}: {_from_to(name, before[name], after[name])}"
        for name in ("key", "attachment")
        if before[name] != after[name]
    ]
    return changed


def difference_of_rows(before: JsonObject | None, after: JsonObject | None, changed: Sequence[str] | None) -> list[str]:
    """A row of a watched table: the columns that changed, or the whole row if it was inserted or deleted."""
    if before is not None and after is not None:
        names = after.keys() if changed is None else changed
        return [
            _from_to(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
        ]
    return [f"{plain(name)} {_quoted(value)}" for name, value in (after or before or {}).items()]


def describe_flag(flag: JsonObject) -> list[str]:
    """A flag in a few words, if there is no earlier state to compare with."""
    words = ["enabled" if flag["enabled"] else "disabled"]
    counts = {name: len(flag[f"{name}s"]) for name in ("segment", "variant")}
    words += [f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items() if count]
    if flag["tags"]:
        words.append("tags " + ", ".join(plain(tag["value"]) for tag in flag["tags"]))
    return words
