"""What we depend on has no known vulnerability, as far as that can be asked from here.

pip-audit asks PyPI's vulnerability service. Where that has no answer, it says "no known vulnerabilities" all the same:
so what was not audited is counted, and a run that audited nothing is skipped with these words, never passed. That this
judge finds what it is there for is tried on a service of our own, with OSV's protocol (google.github.io/osv.dev/api).
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
    """The service said nothing about anything."""


def audit(requirements: Path, *service: str) -> tuple[int, dict[str, list[str]]]:
    """How many dependencies there are, and the vulnerabilities of each that has some; raises `NotAudited`.

    Fails where the service knows some dependencies and not others.
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
        raise NotAudited("the vulnerability service cannot be reached from here") from error
    audited = [each for each in found if "skip_reason" not in each]
    if not audited:
        raise NotAudited(f"the vulnerability service knows none of {len(found)} dependencies here")
    vulnerable = {each["name"]: [one["id"] for one in each["vulns"]] for each in audited if each["vulns"]}
    unknown = [each["name"] for each in found if "skip_reason" in each]
    assert unknown == [], f"not audited: {unknown}, vulnerable: {vulnerable}"
    return len(found), vulnerable


def test_no_dependency_has_a_known_vulnerability() -> None:
    try:
        _, vulnerable = audit(PINNED)
    except NotAudited as why:
        pytest.skip(f"NOT AUDITED: {why}")
    assert vulnerable == {}


class Service(ThreadingHTTPServer):
    """Knows vulnerabilities of some versions, as OSV does; with `status` other than 200 it is out of order."""

    def __init__(self, known: dict[tuple[str, str], str], status: int = 200) -> None:
        self.known = known
        self.status = status
        self.asked: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def options(self) -> tuple[str, ...]:
        return "--vulnerability-service", "osv", "--osv-url", f"http://127.0.0.1:{self.server_address[1]}/v1/query"


class Answer(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        package = asked["package"]["name"], asked["version"]
        self.server.asked.append(package)
        said: dict[str, object] = {}
        if (name := self.server.known.get(package)) is not None:
            affected = {"package": {"name": package[0], "ecosystem": "PyPI"}, "ranges": []}
            said = {"vulns": [{"id": name, "summary": "Bad", "affected": [affected]}]}
        body = json.dumps(said).encode()
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
    assert len(set(service.asked)) == count
    assert count > 20
    service.known = {}
    assert audit(PINNED, *service.options) == (count, {})


def test_a_service_that_is_out_of_order_is_no_good_answer(service: Service) -> None:
    service.status = 503
    with pytest.raises(NotAudited):
        audit(PINNED, *service.options)
