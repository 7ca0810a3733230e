"""Evaluation for the API: the core's functions with the flags of the catalog, a clock, random ids and a regex engine.

Evaluation is synchronous and waits for nothing: a result belongs to the position of the catalog at the time of the
call. A batch is resolved at that position, and may then be evaluated in turns.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from ..core.evaluation import (
    BatchRequest,
    CompiledFlag,
    Evaluation,
    EvaluationRequest,
    FlagSource,
    RegexEngine,
    ResolvedBatch,
    compile_flag,
    encode_evaluation,
    evaluate,
    render_evaluation,
    resolve_batch,
)
from ..core.flags.catalog import Catalog
from ..core.flags.default_schema import default_schema
from ..core.flags.stored_flag import StoredFlag
from ..core.log.point_in_time import PointInTime
from ..core.log.position import Position
from ..core.subscription.grant import Grant
from ..errors import OutOfReach
from ..history.rewind import refuse_before_attachment
from .java_regex import JavaRegexes
from .timestamps import Timestamps

__all__ = ["MAX_BATCH_RESULTS", "Evaluator"]

MAX_BATCH_RESULTS = 10_000
"""Results per batch."""

_MAX_COMPILED = 100_000
"""Size of the cache of compiled flags; when it is full, it is cleared."""

_MAX_TAGS = 1_000
"""The same of the tags that were asked for; requests choose them."""


class Evaluator:
    """Evaluates the flags of the catalog that `catalog` returns, which may change between calls.

    `past` returns the catalog at a past time. `now` is the time in UTC, `new_entity_id` makes ids for entities without
    one.
    """

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        *,
        regexes: RegexEngine | None = None,
        now: Callable[[], datetime] | None = None,
        new_entity_id: Callable[[], str] = lambda: f"randomly_generated_{secrets.randbelow(2**32) - 2**31}",
        max_batch_results: int = MAX_BATCH_RESULTS,
        past: Callable[[PointInTime], Awaitable[Catalog]] | None = None,
    ) -> None:
        self._catalog = catalog
        self._regexes = regexes if regexes is not None else JavaRegexes()
        self._timestamp: Callable[[], str] = Timestamps() if now is None else partial(_timestamp_of, now)
        self._new_entity_id = new_entity_id
        self._max_batch_results = max_batch_results
        self._past = past
        self._sources: dict[str, _Source] = {}
        self.evaluations = 0

    def evaluate(
        self,
        request: Mapping[str, Any] | EvaluationRequest,
        *,
        schema: str | None = None,
        environment_id: int | None = None,
        grant: Grant | None = None,
        catalog: Catalog | None = None,
    ) -> dict[str, Any]:
        """Evaluate one request, as a JSON object or parsed; raises `InvalidInput`.

        Without `schema` the `default_schema` is used. `environment_id` is that of the caller; without one all
        environments are visible. Flags that `grant` does not allow are not found, but still count as dependencies.
        `catalog` replaces the present one, for time travel.
        """
        evaluation = self._evaluate(request, schema, environment_id, grant, catalog)
        return render_evaluation(evaluation, self._timestamp())

    def evaluate_text(
        self,
        request: Mapping[str, Any] | EvaluationRequest,
        *,
        schema: str | None = None,
        environment_id: int | None = None,
        grant: Grant | None = None,
        catalog: Catalog | None = None,
    ) -> str:
        """`evaluate`, with the result as JSON."""
        evaluation = self._evaluate(request, schema, environment_id, grant, catalog)
        return encode_evaluation(evaluation, self._timestamp())

    def _evaluate(
        self,
        request: Mapping[str, Any] | EvaluationRequest,
        schema: str | None,
        environment_id: int | None,
        grant: Grant | None,
        catalog: Catalog | None,
    ) -> Evaluation:
        if not isinstance(request, EvaluationRequest):
            request = EvaluationRequest.parse(request)
        source = self._source(schema, grant, catalog)
        self.evaluations += 1
        if grant is None or not grant.is_restricted:
            return evaluate(source, request, new_entity_id=self._new_entity_id, environment_id=environment_id)
        evaluation = evaluate(
            _Shown(source, grant),
            request,
            new_entity_id=self._new_entity_id,
            environment_id=environment_id,
            dependencies=source,
        )
        return _discreet(evaluation, grant)

    def evaluate_batch(
        self,
        request: Mapping[str, Any] | BatchRequest,
        *,
        schema: str | None = None,
        environment_id: int | None = None,
        grant: Grant | None = None,
        catalog: Catalog | None = None,
    ) -> list[dict[str, Any]]:
        """Evaluate a batch in the order of Flagent's API; raises `InvalidInput`, also if the batch is too large."""
        batch = self._resolve(request, schema, environment_id, grant, catalog)
        timestamp = self._timestamp()
        return [render_evaluation(evaluation, timestamp) for evaluation in self._evaluations(batch, grant)]

    def evaluate_batch_texts(
        self,
        request: Mapping[str, Any] | BatchRequest,
        *,
        schema: str | None = None,
        environment_id: int | None = None,
        grant: Grant | None = None,
        catalog: Catalog | None = None,
    ) -> Iterator[str]:
        """`evaluate_batch`, with each result as JSON, one at a time: the flags are those of the call, however late the
        results are taken. Raises at the call."""
        batch = self._resolve(request, schema, environment_id, grant, catalog)
        timestamp = self._timestamp()
        return (encode_evaluation(evaluation, timestamp) for evaluation in self._evaluations(batch, grant))

    def _resolve(
        self,
        request: Mapping[str, Any] | BatchRequest,
        schema: str | None,
        environment_id: int | None,
        grant: Grant | None,
        catalog: Catalog | None,
    ) -> ResolvedBatch:
        if not isinstance(request, BatchRequest):
            request = BatchRequest.parse(request)
        source = self._source(schema, grant, catalog)
        return resolve_batch(
            _shown(source, grant),
            request,
            environment_id=environment_id,
            dependencies=source,
            max_results=self._max_batch_results,
        )

    def _evaluations(self, batch: ResolvedBatch, grant: Grant | None) -> Iterator[Evaluation]:
        for evaluation in batch.evaluations(self._new_entity_id):
            self.evaluations += 1
            yield _discreet(evaluation, grant)

    async def catalog_at(self, point: PointInTime) -> Catalog:
        """The catalog at a past time, for `evaluate`; raises as `TimeTravel.at` does."""
        if self._past is None:
            raise OutOfReach("this node has no history, so past states cannot be evaluated", code="pruned")
        return await self._past(point)

    def _source(self, schema: str | None, grant: Grant | None = None, past: Catalog | None = None) -> "_Source":
        present = self._catalog()
        catalog = present if past is None else past
        if schema is None:
            if grant is None or not grant.is_restricted:
                schema = "public" if catalog.has_schema("public") else default_schema(catalog.schemas)
            else:
                schema = default_schema(tuple(filter(grant.allows_schema, catalog.schemas)))
        refuse_before_attachment(catalog, schema)
        source = self._sources.get(schema)
        if source is None or source.catalog is not catalog:
            source = _Source(catalog, schema, self._regexes)
            if catalog is present and schema in catalog.schemas:  # else any requested name would be cached
                self._sources[schema] = source
        return source


def _timestamp_of(now: Callable[[], datetime]) -> str:
    return now().replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


class _Source:
    """The flags of a schema as a `FlagSource`, each compiled once per version.

    The catalog returns the same object until a flag changes: that object identifies the version.
    """

    __slots__ = ("_compiled", "_regexes", "_tagged", "_tagged_at", "catalog", "schema")

    def __init__(self, catalog: Catalog, schema: str, regexes: RegexEngine) -> None:
        self.catalog = catalog
        self.schema = schema
        self._regexes = regexes
        self._compiled: dict[int, tuple[StoredFlag, CompiledFlag]] = {}
        self._tagged: dict[str, list[StoredFlag]] = {}
        self._tagged_at: Position | None = None

    def by_id(self, flag_id: int, /) -> CompiledFlag | None:
        flag = self.catalog.stored(self.schema, flag_id)
        return None if flag is None else self._compile(flag)

    def by_key(self, key: str, /) -> CompiledFlag | None:
        flag = self.catalog.stored_by_key(self.schema, key)
        return None if flag is None else self._compile(flag)

    def by_tag(self, tag: str, /) -> Iterable[CompiledFlag]:
        """Newest id first; they are looked up once per position and tag."""
        if self._tagged_at != self.catalog.position:
            self._tagged = {}
            self._tagged_at = self.catalog.position
        found = self._tagged.get(tag)
        if found is None:
            if len(self._tagged) >= _MAX_TAGS:
                self._tagged.clear()
            found = self._tagged[tag] = self.catalog.stored_by_tag(self.schema, tag)
        return map(self._compile, reversed(found))

    def _compile(self, flag: StoredFlag) -> CompiledFlag:
        known = self._compiled.get(flag.id)
        if known is not None and known[0] is flag:
            return known[1]
        if len(self._compiled) >= _MAX_COMPILED:
            self._compiled.clear()
        compiled = compile_flag(flag.render_for_evaluation(), self._regexes)
        self._compiled[flag.id] = flag, compiled
        return compiled


class _Shown:
    """A source as a restricted grant sees it; hidden flags do not exist."""

    __slots__ = ("_grant", "_source")

    def __init__(self, source: _Source, grant: Grant) -> None:
        self._source = source
        self._grant = grant

    def by_id(self, flag_id: int, /) -> CompiledFlag | None:
        flag = self._source.by_id(flag_id)
        return flag if flag is not None and self._shows(flag) else None

    def by_key(self, key: str, /) -> CompiledFlag | None:
        flag = self._source.by_key(key)
        return flag if flag is not None and self._shows(flag) else None

    def by_tag(self, tag: str, /) -> Iterable[CompiledFlag]:
        return filter(self._shows, self._source.by_tag(tag))

    def _shows(self, flag: CompiledFlag) -> bool:
        whole = self._source.catalog.stored(self._source.schema, flag.id)
        return whole is not None and self._grant.allows(self._source.schema, whole.key, whole.scope)


def _shown(source: _Source, grant: Grant | None) -> FlagSource:
    return source if grant is None or not grant.is_restricted else _Shown(source, grant)


def _discreet(evaluation: Evaluation, grant: Grant | None) -> Evaluation:
    """Hide why a dependency blocks, which would disclose whether a hidden flag exists."""
    flag = evaluation.flag
    if grant is None or not grant.is_restricted or flag is None or not flag.depends_on:
        return evaluation
    if not evaluation.log or not evaluation.log[0][1].startswith("dependency "):
        return evaluation
    return evaluation._replace(log=((0, "a dependency is not met"),))
