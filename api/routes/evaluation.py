"""Evaluation over HTTP, with the paths, bodies and responses of Flagent's own API."""

from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter, Query, Request, Response

from cdc.core.evaluation import BatchRequest, EvaluationRequest, decode_json

from ..access.authentication import refuse_evaluation
from ..http.answer import Answer, json_answer
from ..http.turns import Turns
from .plain_request import DirectRoute, PlainRequest

__all__ = ["EVALUATE", "EVALUATE_BATCH", "router"]

router = APIRouter(prefix="/api/v1", tags=["evaluation"])

_SCHEMA = Query(
    None, description="The schema of the flags; default: `public` if attached, else the first attached one."
)


def _openapi(fields: str) -> dict[str, Any]:
    schema = {"type": "object", "description": fields}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post(
    "/evaluation",
    summary="Evaluate one flag for one entity",
    response_model=dict[str, Any],
    openapi_extra=_openapi("entityID, entityType, entityContext, flagID or flagKey, enableDebug, at"),
)
async def evaluate(request: Request, schema: str | None = _SCHEMA) -> Response:
    return await EVALUATE.respond(request, schema)


@router.post(
    "/evaluation/batch",
    summary="Evaluate several flags for several entities",
    response_model=dict[str, Any],
    openapi_extra=_openapi("entities, flagIDs, flagKeys, flagTags, flagTagsOperator, enableDebug, at"),
)
async def evaluate_batch(request: Request, schema: str | None = _SCHEMA) -> Response:
    return await EVALUATE_BATCH.respond(request, schema)


def _answer(request: PlainRequest, schema: str | None) -> Answer | Awaitable[Answer]:
    body = decode_json(request.body)
    question = EvaluationRequest.parse(body)
    if isinstance(body, dict) and (at := body.get("at")) is not None:
        return _answer_from_past(request, question, schema, at)
    # The evaluator reads the same catalog; this refuses, or marks the response.
    request.present_catalog()
    return json_answer(request.services.evaluator.evaluate_text(question, schema=schema, grant=request.grant))


async def _answer_from_past(
    request: PlainRequest, question: EvaluationRequest, schema: str | None, at: object
) -> Answer:
    catalog, position = await request.catalog_at(at)
    text = request.services.evaluator.evaluate_text(question, schema=schema, grant=request.grant, catalog=catalog)
    return json_answer(text, position)


async def _answer_batch_in_turns(request: PlainRequest, schema: str | None) -> Answer:
    turns = Turns()
    body = decode_json(request.body)
    question = await turns.result_of(BatchRequest.parse_in_steps(body))
    at = body.get("at") if isinstance(body, dict) else None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    catalog = None
    if at is None:
        request.present_catalog()
    else:
        catalog, position = await request.catalog_at(at)
        headers = (position,)
    texts = request.services.evaluator.evaluate_batch_texts(
        question, schema=schema, grant=request.grant, catalog=catalog
    )
    results = await turns.list_of(texts)
    return json_answer(f'{{"evaluationResults":[{",".join(results)}]}}', *headers)


EVALUATE = DirectRoute(_answer, reads_body=True, check=refuse_evaluation)
EVALUATE_BATCH = DirectRoute(_answer_batch_in_turns, reads_body=True, check=refuse_evaluation)
