"""Evaluation of flags for entities, with exactly the results of the Flagent server.

A flag is compiled once per version (`compile_flag`), then evaluated many times (`decide`). Around that core: finding
the flag (`lookup`), checking its dependencies (`dependency`), parsing requests (`request`) and rendering answers
(`result`). Flags are passed in without deleted constraints and distributions.
"""

from .bucket import bucket_of, salt_of
from .constraint import CompiledPattern, RegexEngine
from .evaluate import Evaluation, ResolvedBatch, evaluate, evaluate_batch, resolve_batch
from .flag import CompiledFlag, Decision, compile_flag, decide
from .number import parse_double
from .request import BatchRequest, Entity, EvaluationRequest, decode_json
from .result import encode_evaluation, render_evaluation
from .source import FlagSource

__all__ = [
    "BatchRequest",
    "CompiledFlag",
    "CompiledPattern",
    "Decision",
    "Entity",
    "Evaluation",
    "EvaluationRequest",
    "FlagSource",
    "RegexEngine",
    "ResolvedBatch",
    "bucket_of",
    "compile_flag",
    "decide",
    "decode_json",
    "encode_evaluation",
    "evaluate",
    "evaluate_batch",
    "parse_double",
    "render_evaluation",
    "resolve_batch",
    "salt_of",
]
