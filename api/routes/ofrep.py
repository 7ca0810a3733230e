"""OpenFeature's remote evaluation protocol (OFREP 0.3), for any OpenFeature SDK."""

import hashlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from cdc.core.errors import InvalidEventId, InvalidInput
from cdc.core.evaluation import Entity, decode_json
from cdc.core.log.position import EventId
from cdc.core.wire.ofrep import answer, read_context, request_for
from cdc.evaluation.evaluator import Evaluator
from cdc.node.pipeline import Pipeline

from ..access.authentication import grant_of, refuse_evaluation
from ..http.entity_tag import matches_tag
from ..http.problem import PROBLEM_SCHEMA, PROBLEM_TYPE
from ..http.request_body import read_body
from .flags import schema_of

__all__ = ["REFETCH_PATH", "router"]

REFETCH_PATH = "/ofrep/v1/events"

router = APIRouter(
    prefix="/ofrep/v1",
    tags=["OpenFeature"],
    responses={
        "default": {
            "description": "The reason for the error, in OFREP's format or as a problem",
            "content": {"application/json": {"schema": {"type": "object"}}, PROBLEM_TYPE: {"schema": PROBLEM_SCHEMA}},
        }
    },
)

# How long a refetch waits for the position in its notice.
_CATCH_UP_S = 2.0

_INACTIVITY_S = 120

_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


@router.post("/evaluate/flags", summary="Evaluate every flag", openapi_extra=_BODY)
async def evaluate_all(
    request: Request,
    flag_config_etag: Annotated[str | None, Query(alias="flagConfigEtag")] = None,
    flag_config_last_modified: Annotated[str | None, Query(alias="flagConfigLastModified")] = None,
    schema: str | None = None,
) -> Response:
    """The response to a refetch is never older than the notice that caused it."""
    pipeline: Pipeline = request.app.state.pipeline
    grant = grant_of(request)
    refuse_evaluation(grant)
    if flag_config_etag is not None:
        await _wait_for(pipeline, flag_config_etag)
    try:
        entity = read_context(decode_json(await read_body(request)))
    except InvalidInput as error:
        return _failure(400, error)
    name = schema_of(pipeline.hub.catalog, schema, grant)
    evaluator: Evaluator = request.app.state.evaluator
    flags = [
        _evaluate(evaluator, flag, entity, name)
        for _, flag in pipeline.hub.catalog.flags(name)
        if grant.allows_flag(name, flag)
    ]
    body = json.dumps(
        {
            "flags": flags,
            "eventStreams": [
                {"type": "sse", "endpoint": {"requestUri": REFETCH_PATH}, "inactivityDelaySec": _INACTIVITY_S}
            ],
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if matches_tag(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers={"etag": etag})
    return Response(body, media_type="application/json", headers={"etag": etag})


@router.post("/evaluate/flags/{key:path}", summary="Evaluate one flag", openapi_extra=_BODY)
async def evaluate_one(request: Request, key: str, schema: str | None = None) -> Response:
    pipeline: Pipeline = request.app.state.pipeline
    grant = grant_of(request)
    refuse_evaluation(grant)
    try:
        entity = read_context(decode_json(await read_body(request)))
    except InvalidInput as error:
        return _failure(400, error, key)
    name = schema_of(pipeline.hub.catalog, schema, grant)
    flag = pipeline.hub.catalog.find(name, key)
    if flag is None or not grant.allows_flag(name, flag):
        return _reply(404, {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": f"no flag has the key {key!r}"})
    return _reply(200, _evaluate(request.app.state.evaluator, flag, entity, name))


def _evaluate(evaluator: Evaluator, flag: Any, entity: Entity, schema: str) -> dict[str, Any]:
    result = evaluator.evaluate(request_for(flag, entity), schema=schema) if flag["enabled"] else {}
    return answer(flag, result)


async def _wait_for(pipeline: Pipeline, etag: str) -> None:
    try:
        wanted = EventId.parse(etag.strip('"'))
    except InvalidEventId:
        return  # An etag from another server, or none of this protocol: answer from the present state.
    if wanted.log == pipeline.hub.catalog.log:
        await pipeline.hub.reached(wanted.position, _CATCH_UP_S)


def _failure(status: int, error: InvalidInput, key: str | None = None) -> Response:
    code = error.code if error.code.isupper() else "PARSE_ERROR"
    about = {} if key is None else {"key": key}
    return _reply(status, {**about, "errorCode": code, "errorDetails": str(error)})


def _reply(status: int, document: dict[str, Any]) -> Response:
    return Response(
        json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"),
        status,
        media_type="application/json",
    )
