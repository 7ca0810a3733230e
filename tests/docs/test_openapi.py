"""The committed OpenAPI document equals the server's, and is valid."""

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
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert printed.stdout == COMMITTED.read_text(encoding="utf-8")


async def test_a_server_returns_the_same_document(server: RunningServer) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(server.url + "/openapi.json")).json() == json.loads(COMMITTED.read_text("utf-8"))


def test_the_official_schema_accepts_it() -> None:
    """OpenAPI's own, with checks beyond a schema: parameters of paths, unique ids, valid defaults."""
    document = json.loads(COMMITTED.read_text("utf-8"))
    validator = OpenAPIV31SpecValidator(document)
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors()] == []
    del document["info"]["title"]
    assert not OpenAPIV31SpecValidator(document).is_valid()


def test_every_operation_documents_its_responses_and_every_reference_resolves() -> None:
    document = json.loads(COMMITTED.read_text("utf-8"))
    assert document["openapi"].startswith("3.1")
    operations = [(path, verb, each) for path, verbs in document["paths"].items() for verb, each in verbs.items()]
    assert len(operations) > 10
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(set(ids)) == len(ids)
    for path, verb, operation in operations:
        assert operation["summary"], (verb, path)
        assert any(status.startswith("2") for status in operation["responses"]), (verb, path)
    for line in COMMITTED.read_text("utf-8").splitlines():
        if '"$ref": "#/' in line:
            found = document
            for part in line.split('"#/')[1].split('"')[0].split("/"):
                found = found[part]
