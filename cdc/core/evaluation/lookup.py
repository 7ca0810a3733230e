"""Finding the flags of a request.

Only enabled flags are found, as in Flagent, whose evaluation cache holds no others.
"""

import re
from collections.abc import Iterable

from .flag import CompiledFlag
from .source import FlagSource

__all__ = ["find_by_tags", "find_flag"]

# An id; "07" and "+7" are keys.
_ID = re.compile(r"0|-?[1-9][0-9]{0,9}", re.ASCII)

_BEGINS_ID = "-0123456789"


def find_flag(
    source: FlagSource, flag_id: int | None, flag_key: str | None, environment_id: int | None = None
) -> CompiledFlag | None:
    """The enabled flag with this id or key; if an id is given, the key is ignored, even if the id is unknown.

    The look-up is by text, first among ids, then among keys: the key `7` finds the flag with id 7 before the flag with
    key `7`, and the id 7 finds a flag with key `7` if no enabled flag has that id.
    """
    text = str(flag_id) if flag_id is not None else flag_key
    if not text:
        return None
    flag = source.by_id(int(text)) if text[0] in _BEGINS_ID and _ID.fullmatch(text) else None
    if flag is None or not flag.enabled:
        flag = source.by_key(text)
    if flag is None or not flag.enabled or not _is_visible(flag, environment_id):
        return None
    return flag


def find_by_tags(
    source: FlagSource, tags: Iterable[str], *, match_all: bool, environment_id: int | None = None
) -> list[CompiledFlag]:
    """The enabled flags with any, or with all, of these tags: in the order of the tags, per tag newest id first.

    Flags of other environments are omitted. (Flagent answers "not found" for them, which discloses their keys.)
    """
    wanted = list(dict.fromkeys(tags))
    found: dict[int, CompiledFlag] = {}
    for tag in wanted[:1] if match_all else wanted:
        for flag in source.by_tag(tag):
            if flag.enabled and _is_visible(flag, environment_id):
                found.setdefault(flag.id, flag)
    if match_all:
        return [flag for flag in found.values() if set(wanted).issubset(flag.tags)]
    return list(found.values())


def _is_visible(flag: CompiledFlag, environment_id: int | None) -> bool:
    """A flag without an environment belongs to all of them; a caller without one sees all."""
    return environment_id is None or flag.environment_id is None or flag.environment_id == environment_id
