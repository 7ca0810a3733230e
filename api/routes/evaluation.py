"""Evaluation over HTTP, with the paths, bodies and responses of Flagent's own API."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Query, Request, Response

from cdc.core.evaluation import BatchRequest, EvaluationRequest, decode_json
from cdc.evaluation.evaluator import Evaluator

from ..access.authentication import grant_of, refuse_evaluation
from ..http.request_body import read_body
from .flags import catalog_at

__all__ = ["router"]

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
    openapi_extra=_openapi("entityID, entityType, entityContext, flagID or flagKey, enableDebug, at"),
)
async def evaluate(request: Request, response: Response, schema: str | None = _SCHEMA) -> dict[str, Any]:
    evaluator: Evaluator = request.app.state.evaluator
    grant = grant_of(request)
    refuse_evaluation(grant)
    body = decode_json(await read_body(request))
    question = EvaluationRequest.parse(body)
    catalog = await catalog_at(request, _moment(body), response)
    return evaluator.evaluate(question, schema=schema, grant=grant, catalog=catalog)


@router.post(
    "/evaluation/batch",
    summary="Evaluate several flags for several entities",
    openapi_extra=_openapi("entities, flagIDs, flagKeys, flagTags, flagTagsOperator, enableDebug, at"),
)
async def evaluate_batch(request: Request, response: Response, schema: str | None = _SCHEMA) -> dict[str, Any]:
    evaluator: Evaluator = request.app.state.evaluator
    grant = grant_of(request)
    refuse_evaluation(grant)
    body = decode_json(await read_body(request))
    question = BatchRequest.parse(body)
    catalog = await catalog_at(request, _moment(body), response)
    return {"evaluationResults": evaluator.evaluate_batch(question, schema=schema, grant=grant, catalog=catalog)}


def _moment(body: object) -> object:
    """The field `at` of a request body."""
    return body.get("at") if isinstance(body, Mapping) else None
