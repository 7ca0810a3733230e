"""Evaluation over HTTP, with the paths, bodies and answers of Flagent's own API."""

from typing import Any

from fastapi import APIRouter, Query, Request

from cdc.core.errors import InvalidInput
from cdc.core.evaluation import BatchRequest, EvaluationRequest, decode_json
from cdc.evaluator import Evaluator

from .body import read_body
from .problem import Problem

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["evaluation"])

_SCHEMA = Query(None, description="The schema whose flags are meant; the first attached one without it.")


def _openapi(fields: str) -> dict[str, Any]:
    schema = {"type": "object", "description": fields}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post(
    "/evaluation",
    summary="Evaluate one flag for one entity",
    openapi_extra=_openapi("entityID, entityType, entityContext, flagID or flagKey, enableDebug"),
)
async def evaluate(request: Request, schema: str | None = _SCHEMA) -> dict[str, Any]:
    evaluator: Evaluator = request.app.state.evaluator
    raw = await read_body(request)
    try:
        return evaluator.evaluate(EvaluationRequest.parse(decode_json(raw)), schema=schema)
    except InvalidInput as error:
        raise Problem.of_input(error) from error


@router.post(
    "/evaluation/batch",
    summary="Evaluate several flags for several entities",
    openapi_extra=_openapi("entities, flagIDs, flagKeys, flagTags, flagTagsOperator, enableDebug"),
)
async def evaluate_batch(request: Request, schema: str | None = _SCHEMA) -> dict[str, Any]:
    evaluator: Evaluator = request.app.state.evaluator
    raw = await read_body(request)
    try:
        results = evaluator.evaluate_batch(BatchRequest.parse(decode_json(raw)), schema=schema)
    except InvalidInput as error:
        raise Problem.of_input(error) from error
    return {"evaluationResults": results}
