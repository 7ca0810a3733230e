"""Flags held in a list, and regular expressions simple enough for `re`: the input of the evaluation tests."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cdc.core.errors import InvalidPattern
from cdc.core.evaluation import (
    BatchRequest,
    CompiledFlag,
    CompiledPattern,
    Evaluation,
    EvaluationRequest,
    compile_flag,
    evaluate,
    evaluate_batch,
    render_evaluation,
)

__all__ = ["FlagList", "PlainRegexes", "ask", "batch", "constraint", "flag", "segment", "share", "tagged", "variant"]

TIMESTAMP = "2026-11-23T08:00:00.123456Z"


class PlainPattern:
    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern

    def fullmatch(self, text: str, /) -> bool:
        return self.pattern.fullmatch(text) is not None


class PlainRegexes:
    def compile(self, pattern: str, /) -> CompiledPattern:
        try:
            return PlainPattern(re.compile(pattern, re.ASCII))
        except re.error as error:
            raise InvalidPattern from error


class FlagList:
    """The live flags of a list, without the archived ones, as in the catalog."""

    def __init__(self, flags: Iterable[Mapping[str, Any]]) -> None:
        self.flags = [compile_flag(flag, PlainRegexes()) for flag in flags if not flag["archived"]]

    def by_id(self, flag_id: int, /) -> CompiledFlag | None:
        return next((flag for flag in self.flags if flag.id == flag_id), None)

    def by_key(self, key: str, /) -> CompiledFlag | None:
        return next((flag for flag in self.flags if flag.key == key), None)

    def by_tag(self, tag: str, /) -> Iterable[CompiledFlag]:
        return sorted((flag for flag in self.flags if tag in flag.tags), key=lambda flag: -flag.id)


def ask(
    flags: Iterable[Mapping[str, Any]], request: Mapping[str, Any], environment_id: int | None = None
) -> dict[str, Any]:
    """The rendered result of a request in JSON."""
    evaluation = evaluate(
        FlagList(flags),
        EvaluationRequest.parse(request),
        new_entity_id=lambda: "random",
        environment_id=environment_id,
    )
    return render_evaluation(evaluation, TIMESTAMP)


def batch(flags: list[dict[str, Any]], environment_id: int | None = None, **request: Any) -> list[Evaluation]:
    parsed = BatchRequest.parse({"entities": [{"entityID": "u"}, {"entityID": "v"}], **request})
    return list(
        evaluate_batch(
            FlagList(flags),
            parsed,
            new_entity_id=lambda: "random",
            environment_id=environment_id,
            max_results=100,
        )
    )


def flag(flag_id: int = 1, key: str = "a", **fields: Any) -> dict[str, Any]:
    """A flag in the REST shape, enabled, with one segment that gives every entity its only variant."""
    return {
        "id": flag_id,
        "key": key,
        "description": "",
        "createdBy": None,
        "updatedBy": None,
        "enabled": True,
        "snapshotID": 7,
        "notes": None,
        "dataRecordsEnabled": False,
        "entityType": None,
        "environmentId": None,
        "projectId": None,
        "dependsOn": [],
        "segments": [segment()],
        "variants": [variant()],
        "tags": [],
        "updatedAt": None,
        "archived": False,
        **fields,
    }


def segment(segment_id: int = 10, **fields: Any) -> dict[str, Any]:
    return {
        "id": segment_id,
        "flagID": 1,
        "description": None,
        "rank": 0,
        "rolloutPercent": 100,
        "constraints": [],
        "distributions": [share(100)],
        **fields,
    }


def share(percent: int, variant_id: int = 100) -> dict[str, Any]:
    return {"id": 1, "segmentID": 10, "variantID": variant_id, "variantKey": "on", "percent": percent}


def variant(variant_id: int = 100, key: str = "on", attachment: dict[str, str] | None = None) -> dict[str, Any]:
    return {"id": variant_id, "flagID": 1, "key": key, "attachment": attachment}


def constraint(name: str, operator: str, value: str) -> dict[str, Any]:
    return {"id": 1, "segmentID": 10, "property": name, "operator": operator, "value": value}


def tagged(flag_id: int, *tags: str, **fields: Any) -> dict[str, Any]:
    values = [{"id": number, "value": tag} for number, tag in enumerate(tags)]
    return flag(flag_id, f"flag-{flag_id}", tags=values, **fields)
