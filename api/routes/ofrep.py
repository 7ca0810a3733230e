"""OpenFeature's remote evaluation protocol (OFREP 0.3), for any OpenFeature SDK."""

import hashlib
import json
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from cdc.auth.authenticator import Authenticator
from cdc.auth.identity import Identity
from cdc.core.errors import InvalidEventId, InvalidInput
from cdc.core.evaluation import Entity, decode_json
from cdc.core.log.position import EventId
from cdc.core.wire.ofrep import answer, read_context, request_for
from cdc.evaluation.evaluator import Evaluator
from cdc.node.pipeline import Pipeline

from ..access.authentication import grant_of, identity_of, refuse_evaluation
from ..access.credential import TOKEN_PARAMETER
from ..http.entity_tag import matches_tag
from ..http.problem import PROBLEM_SCHEMA, PROBLEM_TYPE
from ..http.request_body import read_body
from ..limits.path_prefix import public_path
from .flags import schema_of
from .present import present_catalog

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
    """The response to a refetch is never older than the notice that caused it.

    Where credentials are required, `eventStreams` carries a stream token, which opens the stream once, within a minute.
    """
    pipeline: Pipeline = request.app.state.pipeline
    grant = grant_of(request)
    refuse_evaluation(grant)
    present_catalog(request)
    if flag_config_etag is not None:
        await _wait_for(pipeline, flag_config_etag)
    try:
        entity = read_context(decode_json(await read_body(request)))
    except InvalidInput as error:
        return _failure(400, error)
    catalog = present_catalog(request)
    name = schema_of(catalog, schema, grant)
    evaluator: Evaluator = request.app.state.evaluator
    flags = [
        _evaluate(evaluator, flag, entity, name) for _, flag in catalog.flags(name) if grant.allows_flag(name, flag)
    ]
    path = public_path(request, REFETCH_PATH) if REFETCH_PATH in request.app.state.gateway.endpoints else None
    headers = {"etag": f'"{hashlib.sha256(_encoded([flags, path])).hexdigest()[:32]}"'}
    authenticator: Authenticator | None = request.app.state.authentication.authenticator
    # A client that names a notice has a stream. Any other may need a new token for one, which a 304 cannot carry.
    may_be_unchanged = authenticator is None or flag_config_etag is not None
    if may_be_unchanged and matches_tag(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    if authenticator is not None:
        headers["cache-control"] = "no-store"
        path = None if path is None else _with_token(path, authenticator, identity_of(request))
    stream = {"type": "sse", "endpoint": {"requestUri": path}, "inactivityDelaySec": _INACTIVITY_S}
    document = {"flags": flags, "eventStreams": [] if path is None else [stream]}
    return Response(_encoded(document), media_type="application/json", headers=headers)


@router.post("/evaluate/flags/{key:path}", summary="Evaluate one flag", openapi_extra=_BODY)
async def evaluate_one(request: Request, key: str, schema: str | None = None) -> Response:
    grant = grant_of(request)
    refuse_evaluation(grant)
    present_catalog(request)
    try:
        entity = read_context(decode_json(await read_body(request)))
    except InvalidInput as error:
        return _failure(400, error, key)
    catalog = present_catalog(request)
    name = schema_of(catalog, schema, grant)
    flag = catalog.find(name, key)
    if flag is None or not grant.allows_flag(name, flag):
        return _reply(404, {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": f"no flag has the key {key!r}"})
    return _reply(200, _evaluate(request.app.state.evaluator, flag, entity, name))


def _with_token(path: str, authenticator: Authenticator, identity: Identity) -> str | None:
    """The address of the stream for this client, None if its scopes are too long for a token: it polls."""
    try:
        token, _ = authenticator.issue_stream_token(identity)
    except InvalidInput:
        return None
    return f"{path}?{urlencode({TOKEN_PARAMETER: token})}"


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
    return Response(_encoded(document), status, media_type="application/json")


def _encoded(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
