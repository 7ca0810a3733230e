"""Evaluation of a request: find the flag, check its dependencies, decide.

Random ids come from a function that is passed in; the time is needed only in `result`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import InvalidInput
from ..text.kotlin_text import WHITESPACE
from .dependency import blocked_by, closure_of
from .explain import LogLine, explain
from .flag import NOTHING, CompiledFlag, Decision, decide
from .lookup import find_by_tags, find_flag
from .request import BatchRequest, Entity, EvaluationRequest
from .source import FlagSource

__all__ = ["Evaluation", "ResolvedBatch", "evaluate", "evaluate_batch", "resolve_batch"]


class Evaluation(NamedTuple):
    """The result of a request before it is rendered; a named tuple, as it is made for every request and must be cheap.

    `flag` is None if none was found; `flag_id` and `flag_key` are then those of the request, 0 and "" if absent. The
    entity is as it was used: with a random id and the entity type of the flag if the request had none; as in the
    request if no flag was found. `log` is empty unless the request has debugging on or a dependency blocks the flag.
    """

    flag: CompiledFlag | None
    flag_id: int
    flag_key: str
    entity_id: str | None
    entity_type: str | None
    context: Mapping[str, str] | None
    decision: Decision
    log: tuple[LogLine, ...]
    debug: bool


def evaluate(
    source: FlagSource,
    request: EvaluationRequest,
    *,
    new_entity_id: Callable[[], str],
    environment_id: int | None = None,
    dependencies: FlagSource | None = None,
) -> Evaluation:
    """Evaluate one request. `environment_id` is that of the caller, None for a caller that sees every environment.

    `dependencies` is the source of the flags that others depend on, for callers whose `source` hides some.
    """
    flag = find_flag(source, request.flag_id, request.flag_key, environment_id)
    if flag is None:
        return _not_found(request)
    return _evaluate(dependencies or source, flag, request.entity, request.debug, new_entity_id)


@dataclass(frozen=True, slots=True)
class ResolvedBatch:
    """A batch whose flags were found: its `evaluations` are of that moment, however long they take.

    `named` are (flag, id, key) of each flag that was requested by its id or its key, the flag None if it was not found.
    `dependencies` has every flag that the found ones depend on, directly or not.
    """

    request: BatchRequest
    tagged: tuple[CompiledFlag, ...]
    named: tuple[tuple[CompiledFlag | None, int | None, str | None], ...]
    dependencies: FlagSource

    def evaluations(self, new_entity_id: Callable[[], str]) -> Iterator[Evaluation]:
        """Per entity the flags with the tags, then per flag id all entities, then per key all entities.

        Duplicates are kept. An entity without id gets another random one in each result.
        """
        request, dependencies = self.request, self.dependencies
        for entity in request.entities:
            for flag in self.tagged:
                yield _evaluate(dependencies, flag, entity, request.debug, new_entity_id)
        for found, flag_id, key in self.named:
            for entity in request.entities:
                if found is None:
                    yield _not_found(EvaluationRequest(entity, flag_id, key))
                else:
                    yield _evaluate(dependencies, found, entity, request.debug, new_entity_id)


def resolve_batch(
    source: FlagSource,
    request: BatchRequest,
    *,
    environment_id: int | None = None,
    dependencies: FlagSource | None = None,
    max_results: int,
) -> ResolvedBatch:
    """Find the flags of a batch. Raises `InvalidInput` if there would be more than `max_results` results."""
    tagged = find_by_tags(source, request.flag_tags, match_all=request.match_all, environment_id=environment_id)
    flags_requested = len(tagged) + len(request.flag_ids) + len(request.flag_keys)
    if flags_requested * len(request.entities) > max_results:
        raise InvalidInput(
            f"{len(request.entities)} entities for {flags_requested} flags are more than {max_results} results; "
            "send several batches",
            name="entities",
            code="batch_too_large",
        )
    wanted: list[tuple[int | None, str | None]] = [(flag_id, None) for flag_id in request.flag_ids]
    wanted += [(None, key) for key in request.flag_keys]
    named = tuple((find_flag(source, flag_id, key, environment_id), flag_id, key) for flag_id, key in wanted)
    flags = [*tagged, *(flag for flag, _, _ in named if flag is not None)]
    return ResolvedBatch(request, tuple(tagged), named, closure_of(dependencies or source, flags))


def evaluate_batch(
    source: FlagSource,
    request: BatchRequest,
    *,
    new_entity_id: Callable[[], str],
    environment_id: int | None = None,
    dependencies: FlagSource | None = None,
    max_results: int,
) -> Iterator[Evaluation]:
    """`resolve_batch`, and the evaluations of what it found."""
    batch = resolve_batch(
        source, request, environment_id=environment_id, dependencies=dependencies, max_results=max_results
    )
    return batch.evaluations(new_entity_id)


_NO_PROPERTIES: Mapping[str, str] = {}


def _not_found(request: EvaluationRequest) -> Evaluation:
    entity = request.entity
    flag_id, flag_key = request.flag_id or 0, request.flag_key or ""
    log = ((0, f"flagID {flag_id} not found or deleted"),)
    return Evaluation(None, flag_id, flag_key, entity.id, entity.type, entity.context, NOTHING, log, False)


def _evaluate(
    source: FlagSource, flag: CompiledFlag, entity: Entity, debug: bool, new_entity_id: Callable[[], str]
) -> Evaluation:
    entity_id, entity_type, context = entity
    if entity_id is None or not entity_id.strip(WHITESPACE):
        entity_id = new_entity_id()
    if context is None:
        context = _NO_PROPERTIES
    blocked = blocked_by(source, flag, entity_id, context) if flag.depends_on else None
    log: tuple[LogLine, ...] = ()
    if blocked is not None:
        decision = NOTHING
        log = ((0, blocked),)
    else:
        decision = decide(flag, entity_id, context)
        if debug:
            log = explain(flag, entity_id, context)
    if entity_type is None:
        entity_type = flag.entity_type or ""
    # `tuple.__new__` takes half the time of the constructor.
    return tuple.__new__(
        Evaluation, (flag, flag.id, flag.key, entity_id, entity_type, entity.context, decision, log, debug)
    )
