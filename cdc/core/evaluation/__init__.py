"""What a flag answers to an entity, exactly as the Flagent server does.

A flag is prepared once per version (`compile_flag`), then asked many times (`decide`). Around that core: which flag is
meant (`lookup`), which others must agree first (`dependency`), how a request is read (`request`) and an answer written
(`result`). Constraints and distributions that were deleted do not count: the flags given here hold none.
"""

from .bucket import bucket_of, salt_of
from .constraint import CompiledPattern, RegexEngine
from .evaluate import Evaluation, evaluate, evaluate_batch
from .flag import CompiledFlag, Decision, compile_flag, decide
from .number import parse_double
from .request import BatchRequest, Entity, EvaluationRequest, decode_json
from .result import render_evaluation
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
    "bucket_of",
    "compile_flag",
    "decide",
    "decode_json",
    "evaluate",
    "evaluate_batch",
    "parse_double",
    "render_evaluation",
    "salt_of",
]
