"""Files that are served from memory."""

import pytest
from fastapi import Request

from api.http.problem import Problem
from api.http.static_files import StaticFiles


def request(*headers: tuple[bytes, bytes]) -> Request:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/x",
        "query_string": b"",
        "headers": headers,
        "server": ("localhost", 80),
    }
    return Request(scope)


@pytest.fixture
def served() -> StaticFiles:
    served = StaticFiles("default-src 'none'")
    for name in ("index.html", "app.js", "style.css", "LICENSE", "__init__.py"):
        served.add(name, name.encode())
    return served


def test_a_document_has_a_policy_and_other_files_have_none(served: StaticFiles) -> None:
    document, script = served.answer(request(), "index.html"), served.answer(request(), "app.js")
    assert (document.body, script.body) == (b"index.html", b"app.js")
    assert document.headers["content-security-policy"] == "default-src 'none'"
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "content-security-policy" not in script.headers


def test_a_file_that_the_browser_has_is_not_sent_again(served: StaticFiles) -> None:
    etag = served.answer(request(), "index.html").headers["etag"]
    unchanged = served.answer(request((b"if-none-match", etag.encode())), "index.html")
    assert (unchanged.status_code, unchanged.body) == (304, b"")
    assert unchanged.headers["content-security-policy"] == "default-src 'none'"
    assert served.answer(request((b"if-none-match", etag.encode())), "app.js").status_code == 200


@pytest.mark.parametrize("name", ["LICENSE", "__init__.py", "../app.js", "none.js", ""])
def test_only_files_for_browsers_are_served(served: StaticFiles, name: str) -> None:
    with pytest.raises(Problem, match="no such path") as refused:
        served.answer(request(), name)
    assert refused.value.status == 404
