"""What we depend on has no known vulnerability, as far as that can be asked from here.

pip-audit asks PyPI's vulnerability service. Where that has no answer, it says "no known vulnerabilities" all the same:
so what was not audited is counted, and a run that audited nothing is skipped with these words, never passed.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.timeout(110)


def test_no_dependency_has_a_known_vulnerability() -> None:
    try:
        done = subprocess.run(
            [
                sys.executable, "-m", "pip_audit", "-r", ROOT / "requirements" / "run.txt", "--require-hashes",
                "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "10",
            ],
            capture_output=True, text=True, check=False, timeout=90,
        )  # fmt: skip
        found = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        pytest.skip("NOT AUDITED: the vulnerability service cannot be reached from here")
    audited = [each for each in found if "skip_reason" not in each]
    if not audited:
        pytest.skip(f"NOT AUDITED: the vulnerability service knows none of {len(found)} dependencies here")
    vulnerable = {each["name"]: [one["id"] for one in each["vulns"]] for each in audited if each["vulns"]}
    assert vulnerable == {}
    assert len(audited) == len(found), f"not audited: {[each['name'] for each in found if 'skip_reason' in each]}"
