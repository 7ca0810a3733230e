"""Whether the flags that a flag depends on let it speak.

Flagent recurses without a guard and never ends on a cycle. Here each flag is decided at most once per request, and a
chain of any length needs no deeper stack: the table can hold anything.
"""

from collections.abc import Mapping

from .flag import CompiledFlag, decide
from .source import FlagSource

__all__ = ["blocked_by"]


def blocked_by(source: FlagSource, flag: CompiledFlag, entity_id: str, context: Mapping[str, str]) -> str | None:
    """Why `flag` is blocked, None where it is not.

    Every dependency, looked up by key, must exist and give the same entity a variant, whichever; its own dependencies
    count too. A flag that depends on itself, in however many steps, is blocked.
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
    """Enter into `answers` whether `flag`, and every flag met on the way, gives the entity a variant."""
    # A flag is entered as False when it is first met: met again below itself it closes a cycle, and False is right.
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
