"""Dependencies between flags.

Flagent recurses without a guard and never returns on a cycle. Here each flag is decided at most once per request, and a
long chain needs no deeper stack, as the table may contain anything.
"""

from collections.abc import Iterable, Mapping

from .flag import CompiledFlag, decide
from .source import FlagSource

__all__ = ["blocked_by", "closure_of"]


class _Closure:
    """Flags by key, independent of what the source becomes later."""

    __slots__ = ("_flags",)

    def __init__(self, flags: Mapping[str, CompiledFlag]) -> None:
        self._flags = flags

    def by_id(self, flag_id: int, /) -> CompiledFlag | None:
        return next((flag for flag in self._flags.values() if flag.id == flag_id), None)

    def by_key(self, key: str, /) -> CompiledFlag | None:
        return self._flags.get(key)

    def by_tag(self, tag: str, /) -> Iterable[CompiledFlag]:
        return sorted((flag for flag in self._flags.values() if tag in flag.tags), key=lambda flag: -flag.id)


def closure_of(source: FlagSource, flags: Iterable[CompiledFlag]) -> FlagSource:
    """The flags of the source that these depend on, directly or not; those that do not exist are absent."""
    found: dict[str, CompiledFlag] = {}
    wanted = [key for flag in flags for key in flag.depends_on]
    while wanted:
        key = wanted.pop()
        if key not in found and (flag := source.by_key(key)) is not None:
            found[key] = flag
            wanted += flag.depends_on
    return _Closure(found)


def blocked_by(source: FlagSource, flag: CompiledFlag, entity_id: str, context: Mapping[str, str]) -> str | None:
    """Why `flag` is blocked, None if it is not.

    Every dependency, found by key, must exist and give the same entity any variant; the same holds for its own
    dependencies. A flag that depends on itself, directly or not, is blocked.
    """
    answers = {flag.key: False}
    for key in flag.depends_on:
        dependency = source.by_key(key)
        if dependency is None:
            return f'dependency "{key}" not found'
        if key not in answers:
            _answer(source, dependency, entity_id, context, answers)
        if not answers[key]:
            return f'dependency "{key}" is disabled or has no variant'
    return None


def _answer(
    source: FlagSource, flag: CompiledFlag, entity_id: str, context: Mapping[str, str], answers: dict[str, bool]
) -> None:
    """Record in `answers` whether `flag`, and every flag it depends on, gives the entity a variant."""
    # A flag starts as False: if it is reached again below itself, that is a cycle, and False is the result.
    answers[flag.key] = False
    path, done = [flag], [0]
    while path:
        current = path[-1]
        if done[-1] == len(current.depends_on):
            answers[current.key] = decide(current, entity_id, context).variant_id is not None
        else:
            key = current.depends_on[done[-1]]
            if key not in answers:
                answers[key] = False
                dependency = source.by_key(key)
                if dependency is not None:
                    path.append(dependency)
                    done.append(0)
                    continue
            if answers[key]:
                done[-1] += 1
                continue
        path.pop()
        done.pop()
