"""The published cases of the Flagent server, each its own test, asked of the fast code and of the transcription."""

import json
from pathlib import Path
from typing import Any

import pytest

from . import transcription
from .flags import ask

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "evaluation_vectors.json").read_text("utf-8"))


def assert_agrees(result: dict[str, Any], expected: dict[str, Any]) -> None:
    """Exactly the expected fields count, of `evalContext` exactly its expected keys."""
    for field, value in expected.items():
        if field == "evalContext":
            assert {key: result[field][key] for key in value} == value
        else:
            assert result[field] == value, field


@pytest.fixture(params=VECTORS, ids=[vector["name"] for vector in VECTORS])
def vector(request: pytest.FixtureRequest) -> dict[str, Any]:
    vector: dict[str, Any] = request.param
    return vector


def test_answers_as_the_flagent_server_does(vector: dict[str, Any]) -> None:
    assert_agrees(ask([vector["flag"], *vector.get("otherFlags", [])], vector["request"]), vector["expected"])


def test_the_transcription_answers_as_the_flagent_server_does(vector: dict[str, Any]) -> None:
    live = [flag for flag in [vector["flag"], *vector.get("otherFlags", [])] if not flag["archived"]]
    assert_agrees(transcription.evaluate(live, vector["request"]), vector["expected"])
