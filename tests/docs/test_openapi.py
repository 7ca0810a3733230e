"""The OpenAPI document that is committed is the server's own, and whole."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.fixtures.server import RunningServer

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "reference" / "openapi.json"


def test_the_committed_document_is_current() -> None:
    """`.venv/bin/python docs/openapi.py > docs/reference/openapi.json` brings it up to date."""
    command = [sys.executable, str(ROOT / "docs" / "openapi.py")]
    made = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert made.stdout == COMMITTED.read_text(encoding="utf-8")


async def test_a_server_tells_the_same_document(server: RunningServer) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(server.url + "/openapi.json")).json() == json.loads(COMMITTED.read_text("utf-8"))


def test_the_official_schema_accepts_it() -> None:
    """OpenAPI's own, and what a schema cannot say: parameters that paths name, unique ids, defaults that fit."""
    document = json.loads(COMMITTED.read_text("utf-8"))
    validator = OpenAPIV31SpecValidator(document)
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors()] == []
    del document["info"]["title"]
    assert not OpenAPIV31SpecValidator(document).is_valid()


def test_every_path_says_what_it_answers_and_every_reference_leads_somewhere() -> None:
    document = json.loads(COMMITTED.read_text("utf-8"))
    assert document["openapi"].startswith("3.1")
    operations = [(path, verb, told) for path, verbs in document["paths"].items() for verb, told in verbs.items()]
    assert len(operations) > 10
    ids = [told["operationId"] for _, _, told in operations]
    assert len(set(ids)) == len(ids)
    for path, verb, told in operations:
        assert told["summary"], (verb, path)
        assert any(status.startswith("2") for status in told["responses"]), (verb, path)
    for line in COMMITTED.read_text("utf-8").splitlines():
        if '"$ref": "#/' in line:
            found = document
            for part in line.split('"#/')[1].split('"')[0].split("/"):
                found = found[part]
