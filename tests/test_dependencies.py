"""The pinned dependencies have no known vulnerability, if the vulnerability service can be reached.

pip-audit queries PyPI's vulnerability service. Where the service does not respond, it reports "no known
vulnerabilities" nevertheless: so the audited dependencies are counted, and a run without any is skipped, not passed. A
local service with OSV's protocol (google.github.io/osv.dev/api) checks that a vulnerability is found.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PINNED = ROOT / "requirements" / "run.txt"

pytestmark = pytest.mark.timeout(110)


class NotAudited(Exception):
    """The service has data about none of the dependencies."""


def audit(requirements: Path, *service: str) -> tuple[int, dict[str, list[str]]]:
    """The number of dependencies, and the vulnerabilities of each that has some; raises `NotAudited`.

    Fails if the service has data about only some dependencies.
    """
    command = [
        sys.executable, "-m", "pip_audit", "-r", str(requirements), "--require-hashes", "--disable-pip",
        "--format", "json", "--progress-spinner", "off", "--timeout", "10", *service,
    ]  # fmt: skip
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"} if service else None
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90, env=environment)
        found = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        raise NotAudited("the vulnerability service is not reachable") from error
    audited = [each for each in found if "skip_reason" not in each]
    if not audited:
        raise NotAudited(f"the vulnerability service has data about none of {len(found)} dependencies")
    vulnerable = {each["name"]: [one["id"] for one in each["vulns"]] for each in audited if each["vulns"]}
    unknown = [each["name"] for each in found if "skip_reason" in each]
    assert unknown == [], f"not audited: {unknown}, vulnerable: {vulnerable}"
    return len(found), vulnerable


def test_no_dependency_has_a_known_vulnerability() -> None:
    try:
        _, vulnerable = audit(PINNED)
    except NotAudited as error:
        pytest.skip(f"NOT AUDITED: {error}")
    assert vulnerable == {}


class Service(ThreadingHTTPServer):
    """An OSV service with vulnerabilities of some versions; every response has the given `status`."""

    def __init__(self, known: dict[tuple[str, str], str], status: int = 200) -> None:
        self.known = known
        self.status = status
        self.queried: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def options(self) -> tuple[str, ...]:
        return "--vulnerability-service", "osv", "--osv-url", f"http://127.0.0.1:{self.server_address[1]}/v1/query"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["content-length"])))
        package = query["package"]["name"], query["version"]
        self.server.queried.append(package)
        result: dict[str, object] = {}
        if (name := self.server.known.get(package)) is not None:
            affected = {"package": {"name": package[0], "ecosystem": "PyPI"}, "ranges": []}
            result = {"vulns": [{"id": name, "summary": "Bad", "affected": [affected]}]}
        body = json.dumps(result).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service({}) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def pins() -> list[tuple[str, str]]:
    return re.findall(r"^([\w.-]+)==([^\s;\\]+)", PINNED.read_text(encoding="utf-8"), re.MULTILINE)


def test_a_known_vulnerability_of_a_pin_is_found_and_nothing_else(service: Service) -> None:
    name, version = pins()[3]
    service.known = {(name, version): "GHSA-real", (pins()[0][0], "0.0.1"): "GHSA-old"}
    count, vulnerable = audit(PINNED, *service.options)
    assert vulnerable == {name: ["GHSA-real"]}
    assert len(set(service.queried)) == count
    assert count > 20
    service.known = {}
    assert audit(PINNED, *service.options) == (count, {})


def test_a_failing_service_counts_as_not_audited(service: Service) -> None:
    service.status = 503
    with pytest.raises(NotAudited):
        audit(PINNED, *service.options)
