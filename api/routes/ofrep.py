"""OpenFeature's remote evaluation protocol (OFREP 0.3), for any OpenFeature SDK."""

import hashlib
import json
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from cdc.auth.authenticator import Authenticator
from cdc.auth.identity import Identity
from cdc.auth.stream_token_claims import StreamTokenLimits
from cdc.core.errors import InvalidEventId, InvalidInput
from cdc.core.evaluation import Entity, decode_json
from cdc.core.flags.stored_flag import StoredFlag
from cdc.core.log.position import EventId
from cdc.core.wire.ofrep import answer, read_context, request_for
from cdc.evaluation.evaluator import Evaluator
from cdc.node.pipeline import Pipeline

from ..access.authentication import refuse_evaluation
from ..access.credential import TOKEN_PARAMETER
from ..http.answer import JSON_TYPE, Answer
from ..http.entity_tag import matches_tag
from ..http.problem import PROBLEM_SCHEMA, PROBLEM_TYPE
from ..http.turns import Turns
from .flags import schema_of
from .plain_request import DirectRoute, PlainRequest

__all__ = ["EVALUATE_ALL", "EVALUATE_ONE", "REFETCH_PATH", "router"]

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
    return await EVALUATE_ALL.respond(request, flag_config_etag, flag_config_last_modified, schema)


async def _answer_all(
    request: PlainRequest,
    flag_config_etag: str | None,
    flag_config_last_modified: str | None,
    schema: str | None,
) -> Answer:
    grant, services = request.grant, request.services
    request.present_catalog()
    if flag_config_etag is not None:
        await _wait_for(services.pipeline, flag_config_etag)
    try:
        entity = read_context(decode_json(request.body))
    except InvalidInput as error:
        return _failure(400, error)
    catalog = request.present_catalog()
    name = schema_of(catalog, schema, grant)
    turns = Turns()
    # Of this moment, however long it takes.
    stored = [flag for _, chunk in catalog.chunks(name) for flag in chunk.flags]
    if grant.is_restricted:
        stored = [flag for flag in stored if grant.allows(name, flag.key, flag.scope)]
    texts = await turns.list_of(_encoded(_evaluate(services.evaluator, flag, entity, name)) for flag in stored)
    gateway = services.gateway
    path = request.public_path(REFETCH_PATH) if REFETCH_PATH in gateway.endpoints else None
    flags = b"[%b]" % b",".join(texts)
    etag = f'"{hashlib.sha256(b"[%b,%b]" % (flags, _encoded(path))).hexdigest()[:32]}"'
    headers: tuple[tuple[bytes, bytes], ...] = ((b"etag", etag.encode()),)
    authenticator = gateway.authentication.authenticator
    # A client that names a notice has a stream. Any other may need a new token for one, which a 304 cannot carry.
    may_be_unchanged = authenticator is None or flag_config_etag is not None
    if may_be_unchanged and matches_tag(request.header(b"if-none-match").decode("latin-1"), etag):
        return Answer(304, headers, b"")
    if authenticator is not None:
        headers = (*headers, (b"cache-control", b"no-store"))
        path = None if path is None else _with_token(path, authenticator, request.identity)
    stream = {"type": "sse", "endpoint": {"requestUri": path}, "inactivityDelaySec": _INACTIVITY_S}
    streams = _encoded([] if path is None else [stream])
    return Answer(200, (JSON_TYPE, *headers), b'{"flags":%b,"eventStreams":%b}' % (flags, streams))


@router.post("/evaluate/flags/{key:path}", summary="Evaluate one flag", openapi_extra=_BODY)
async def evaluate_one(request: Request, key: str, schema: str | None = None) -> Response:
    return await EVALUATE_ONE.respond(request, key, schema)


def _answer_one(request: PlainRequest, key: str, schema: str | None) -> Answer:
    catalog = request.present_catalog()
    try:
        entity = read_context(decode_json(request.body))
    except InvalidInput as error:
        return _failure(400, error, key)
    name = schema_of(catalog, schema, request.grant)
    flag = catalog.stored_by_key(name, key)
    if flag is None or not request.grant.allows(name, flag.key, flag.scope):
        return _reply(404, {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": f"no flag has the key {key!r}"})
    return _reply(200, _evaluate(request.services.evaluator, flag, entity, name))


EVALUATE_ALL = DirectRoute(_answer_all, reads_body=True, check=refuse_evaluation)
EVALUATE_ONE = DirectRoute(_answer_one, reads_body=True, check=refuse_evaluation)


def _with_token(path: str, authenticator: Authenticator, identity: Identity) -> str | None:
    """The address of the stream for this client, None if its scopes are too long for a token: it polls.

    The token opens this stream alone: addresses end up in logs and histories.
    """
    try:
        token, _ = authenticator.issue_stream_token(identity, StreamTokenLimits(path=REFETCH_PATH))
    except InvalidInput:
        return None
    return f"{path}?{urlencode({TOKEN_PARAMETER: token})}"


def _evaluate(evaluator: Evaluator, stored: StoredFlag, entity: Entity, schema: str) -> dict[str, Any]:
    flag = stored.render()
    result = evaluator.evaluate(request_for(flag, entity), schema=schema) if flag["enabled"] else {}
    return answer(flag, result)


async def _wait_for(pipeline: Pipeline, etag: str) -> None:
    try:
        wanted = EventId.parse(etag.strip('"'))
    except InvalidEventId:
        return  # An etag from another server, or none of this protocol: answer from the present state.
    if wanted.log == pipeline.hub.catalog.log:
        await pipeline.hub.reached(wanted.position, _CATCH_UP_S)


def _failure(status: int, error: InvalidInput, key: str | None = None) -> Answer:
    code = error.code if error.code.isupper() else "PARSE_ERROR"
    about = {} if key is None else {"key": key}
    return _reply(status, {**about, "errorCode": code, "errorDetails": str(error)})


def _reply(status: int, document: dict[str, Any]) -> Answer:
    return Answer(status, (JSON_TYPE,), _encoded(document))


def _encoded(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
