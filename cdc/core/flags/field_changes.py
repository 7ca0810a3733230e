"""The changed fields of a flag, with their values before and after, for its history.

Parts are identified by a property that stays when they change: segments, variants and constraints by id, distributions
by variant (Flagent replaces their rows on every save).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .flag import BOOKKEEPING, FlagJson, tag_values

__all__ = ["field_changes"]

_IGNORED = frozenset(BOOKKEEPING)

# List of parts → the field that identifies a part, and the fields that are ignored.
_PARTS: Mapping[str, tuple[str, frozenset[str]]] = {
    "segments": ("id", frozenset()),
    "variants": ("id", frozenset()),
    "constraints": ("id", frozenset()),
    "distributions": ("variantID", frozenset({"id"})),
}


def field_changes(before: FlagJson, after: FlagJson) -> list[dict[str, Any]]:
    """`{"path", "before", "after"}` for each changed field, in the flag's order; None for a part that does not exist.

    A path is for example `enabled`, `segments[3].rolloutPercent`, `segments[3].distributions[7].percent`.
    """
    return [{"path": path, "before": old, "after": new} for path, old, new in _compare("", before, after, _IGNORED)]


def _compare(
    prefix: str, before: Mapping[str, Any], after: Mapping[str, Any], ignored: frozenset[str]
) -> Iterator[tuple[str, Any, Any]]:
    for name, new in after.items():
        old = before.get(name)
        if name in ignored or old == new:
            continue
        if name == "tags":
            yield prefix + name, sorted(tag_values(before)), sorted(tag_values(after))
        elif name in _PARTS:
            yield from _compare_parts(prefix + name, old or (), new, *_PARTS[name])
        else:
            yield prefix + name, old, new


def _compare_parts(
    path: str,
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    key: str,
    ignored: frozenset[str],
) -> Iterator[tuple[str, Any, Any]]:
    old, new = ({part[key]: part for part in parts} for parts in (before, after))
    for name in sorted(old | new):
        was, is_now = old.get(name), new.get(name)
        if was is None or is_now is None:
            yield f"{path}[{name}]", was, is_now
        else:
            yield from _compare(f"{path}[{name}].", was, is_now, ignored)
