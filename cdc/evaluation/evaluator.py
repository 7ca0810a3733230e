"""Evaluation for the API: the core's functions with the catalog's flags, a clock, random ids and an engine.

Everything is answered at once, on the catalog as it stands, without waiting for anything: an answer belongs to the
catalog's position at the moment of the call.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ..core.evaluation import (
    BatchRequest,
    CompiledFlag,
    Evaluation,
    EvaluationRequest,
    FlagSource,
    RegexEngine,
    compile_flag,
    evaluate,
    evaluate_batch,
    render_evaluation,
)
from ..core.flags.catalog import Catalog
from ..core.flags.default_schema import default_schema
from ..core.flags.flag import FlagJson
from ..core.log.point_in_time import Moment
from ..core.log.position import Position
from ..core.subscription.grant import Grant
from ..errors import OutOfReach
from ..history.rewind import refuse_before_attachment
from .java_regex import JavaRegexes

__all__ = ["MAX_BATCH_RESULTS", "Evaluator"]

MAX_BATCH_RESULTS = 10_000
"""Answers in one batch. At 3 us each they take 30 ms, during which nothing else happens."""

_MAX_COMPILED = 100_000
"""Prepared flags kept; beyond that all are dropped and prepared again as they are asked for."""


class Evaluator:
    """Evaluates the flags of a catalog, which `catalog` hands out, as it may be replaced by another.

    `past` finds the catalogs of past moments. `now` is the time in UTC, `new_entity_id` makes ids for entities that
    come without one.
    """

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        *,
        regexes: RegexEngine | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_entity_id: Callable[[], str] = lambda: f"randomly_generated_{secrets.randbelow(2**32) - 2**31}",
        max_batch_results: int = MAX_BATCH_RESULTS,
        past: Callable[[Moment], Awaitable[Catalog]] | None = None,
    ) -> None:
        self._catalog = catalog
        self._regexes = regexes if regexes is not None else JavaRegexes()
        self._now = now
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
        """Answer one request, given as its JSON object or already read; raises `InvalidInput`.

        Without `schema` the flags are those of `public`, or of the first schema where there is no `public`.
        `environment_id` is the caller's; without one all environments are seen. What `grant` does not allow is not
        found, except by the flags that depend on it. `catalog` is another one than the present, as of the past.
        """
        if not isinstance(request, EvaluationRequest):
            request = EvaluationRequest.parse(request)
        source = self._source(schema, grant, catalog)
        evaluation = evaluate(
            _shown(source, grant),
            request,
            new_entity_id=self._new_entity_id,
            environment_id=environment_id,
            dependencies=source,
        )
        self.evaluations += 1
        return render_evaluation(_discreet(evaluation, grant), self._timestamp())

    def evaluate_batch(
        self,
        request: Mapping[str, Any] | BatchRequest,
        *,
        schema: str | None = None,
        environment_id: int | None = None,
        grant: Grant | None = None,
        catalog: Catalog | None = None,
    ) -> list[dict[str, Any]]:
        """Answer a batch in the order of Flagent's API; raises `InvalidInput`, for too large a batch too."""
        if not isinstance(request, BatchRequest):
            request = BatchRequest.parse(request)
        source = self._source(schema, grant, catalog)
        evaluations = evaluate_batch(
            _shown(source, grant),
            request,
            new_entity_id=self._new_entity_id,
            environment_id=environment_id,
            dependencies=source,
            max_results=self._max_batch_results,
        )
        timestamp = self._timestamp()
        results = [render_evaluation(_discreet(evaluation, grant), timestamp) for evaluation in evaluations]
        self.evaluations += len(results)
        return results

    async def catalog_at(self, moment: Moment) -> Catalog:
        """The catalog of a moment, to be given to `evaluate`; raises as `TimeTravel.at` does."""
        if self._past is None:
            raise OutOfReach("nothing is known of the past here", code="pruned")
        return await self._past(moment)

    def _source(self, schema: str | None, grant: Grant | None = None, past: Catalog | None = None) -> "_Source":
        present = self._catalog()
        catalog = present if past is None else past
        if schema is None:
            schemas = tuple(name for name in catalog.schemas if grant is None or grant.allows_schema(name))
            schema = default_schema(schemas)
        refuse_before_attachment(catalog, schema)
        source = self._sources.get(schema)
        if source is None or source.catalog is not catalog:
            source = _Source(catalog, schema, self._regexes)
            if catalog is present and schema in catalog.schemas:  # else any name asked for would be kept
                self._sources[schema] = source
        return source

    def _timestamp(self) -> str:
        return self._now().replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


class _Source:
    """A schema's flags as the core's evaluation wants them, each prepared once per version.

    The catalog hands out the same object until a flag changes: that object is the version.
    """

    __slots__ = ("_compiled", "_regexes", "_tagged", "_tagged_at", "catalog", "schema")

    def __init__(self, catalog: Catalog, schema: str, regexes: RegexEngine) -> None:
        self.catalog = catalog
        self.schema = schema
        self._regexes = regexes
        self._compiled: dict[int, tuple[FlagJson, CompiledFlag]] = {}
        self._tagged: dict[str, list[FlagJson]] = {}
        self._tagged_at: Position | None = None

    def by_id(self, flag_id: int, /) -> CompiledFlag | None:
        flag = self.catalog.flag_json(self.schema, flag_id)
        return None if flag is None else self._compile(flag)

    def by_key(self, key: str, /) -> CompiledFlag | None:
        flag = self.catalog.find(self.schema, key)
        return None if flag is None else self._compile(flag)

    def by_tag(self, tag: str, /) -> Iterable[CompiledFlag]:
        """Newest id first; the flags are gone through once per position, not once per tag."""
        if self._tagged_at != self.catalog.position:
            self._tagged = {}
            for _, flag in self.catalog.flags(self.schema):
                for carried in flag["tags"]:
                    self._tagged.setdefault(carried["value"], []).append(flag)
            self._tagged_at = self.catalog.position
        return map(self._compile, reversed(self._tagged.get(tag, ())))

    def _compile(self, flag: FlagJson) -> CompiledFlag:
        known = self._compiled.get(flag["id"])
        if known is not None and known[0] is flag:
            return known[1]
        if len(self._compiled) >= _MAX_COMPILED:
            self._compiled.clear()
        view = self.catalog.evaluation_view(self.schema, flag["id"])
        compiled = compile_flag(view if view is not None else flag, self._regexes)
        self._compiled[flag["id"]] = flag, compiled
        return compiled


class _Shown:
    """A source as a restricted grant shows it; what is hidden is answered as what does not exist."""

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
        whole = self._source.catalog.flag_json(self._source.schema, flag.id)
        return whole is not None and self._grant.allows_flag(self._source.schema, whole)


def _shown(source: _Source, grant: Grant | None) -> FlagSource:
    return source if grant is None or not grant.is_restricted else _Shown(source, grant)


def _discreet(evaluation: Evaluation, grant: Grant | None) -> Evaluation:
    """Why a dependency blocks would tell whether a flag exists that perhaps must not be seen."""
    flag = evaluation.flag
    if grant is None or not grant.is_restricted or flag is None or not flag.depends_on:
        return evaluation
    if not evaluation.log or not evaluation.log[0][1].startswith("dependency "):
        return evaluation
    return evaluation._replace(log=((0, "a dependency is not met"),))
