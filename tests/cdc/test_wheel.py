"""The wheel outside the checkout: nothing but the wheel and the locked run-time packages.

The environment with those packages stays in `.venv-wheel` for the next run; it is made anew when the lock changes.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cdc.cli.torture.port import lasting_port

ROOT = Path(__file__).parents[2]
# One for each worker: two that filled the same one at the same time would break it for each other.
HOME = ROOT / f".venv-wheel{os.environ.get('PYTEST_XDIST_WORKER', '')}"
LOCK = ROOT / "requirements" / "run.txt"
SOURCES = ("flagent_cdc", "api", "cdc", "sql", "setup.py", "pyproject.toml", "README.md", "LICENSE")

pytestmark = pytest.mark.timeout(600)


def run(*command: str | Path, cwd: Path) -> str:
    """What a command says, in an environment that does not know of the checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FLAGENT_"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the programs of an environment in which the wheel was installed."""
    work = tmp_path_factory.mktemp("wheel")
    copy = work / "source"
    copy.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    pip = ("-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")
    run(sys.executable, *pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", work, copy, cwd=work)
    (wheel,) = work.glob("*.whl")

    stamp = HOME / "lock.txt"
    if not stamp.exists() or stamp.read_text() != LOCK.read_text():
        shutil.rmtree(HOME, ignore_errors=True)
        run(sys.executable, "-m", "venv", HOME, cwd=work)
        run(HOME / "bin" / "python", *pip, "install", "--require-hashes", "-r", LOCK, cwd=work)
        shutil.copy(LOCK, stamp)
    run(HOME / "bin" / "python", *pip, "install", "--no-deps", "--force-reinstall", wheel, cwd=work)
    return HOME / "bin"


def test_it_asks_for_nothing_that_the_lock_does_not_have(installed: Path, tmp_path: Path) -> None:
    assert "No broken requirements found" in run(installed / "python", "-m", "pip", "check", cwd=tmp_path)


def test_it_runs_from_where_it_was_installed(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "flagent-cdc", "--version", cwd=tmp_path).startswith("flagent-cdc ")
    place = run(installed / "python", "-c", "import flagent_cdc.cdc.cli; print(flagent_cdc.__file__)", cwd=tmp_path)
    assert Path(place.strip()).is_relative_to(HOME)
    # The overview imports every command, and so everything that a command needs at run time.
    assert "\n  serve " in run(installed / "flagent-cdc", "--help", cwd=tmp_path)


def test_it_carries_sql_and_migrations(installed: Path, tmp_path: Path, flagent_url: str) -> None:
    migrated = run(installed / "flagent-cdc", "migrate", "--database-url", flagent_url, cwd=tmp_path)
    assert "schema public: attached" in migrated
    with psycopg.connect(flagent_url, autocommit=True) as connection:
        connection.execute("insert into flags (key, description, created_at) values ('a', '', now())")
        captured = "select table_name, op from flagent_cdc.change_log order by transaction_group desc, id desc limit 1"
        assert connection.execute(captured).fetchone() == ("flags", "insert")
    run(installed / "flagent-cdc", "uninstall", "--database-url", flagent_url, cwd=tmp_path)
    with psycopg.connect(flagent_url) as connection:
        assert connection.execute("select to_regnamespace('flagent_cdc')").fetchone() == (None,)


def test_it_carries_everything_that_the_checkout_has(installed: Path, tmp_path: Path) -> None:
    def texts(directory: Path) -> set[str]:
        found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
        return {name for name in found if not name.endswith((".pyc", ".pyo"))}

    for package in ("api", "cdc", "sql"):
        place = run(
            installed / "python", "-c", f"from flagent_cdc import {package}; print({package}.__path__[0])", cwd=tmp_path
        )
        assert texts(Path(place.strip())) == texts(ROOT / package)


APPLICATION = """
import api.orders
import sql.tables
from fastapi import FastAPI

import flagent_cdc

events = flagent_cdc.embed({url!r})
app = FastAPI(lifespan=events.lifespan)


@app.get("/")
async def own():
    return [api.orders.NAME, sql.tables.NAME]


app.mount("/flags", events)
"""

CLIENT = """
import json, sys, time, urllib.request

for attempt in range(600):
    try:
        with urllib.request.urlopen(sys.argv[1] + "/flags/readyz") as answer:
            break
    except OSError:
        time.sleep(0.1)
for path in ("/", "/flags/api/v1/flags"):
    print(json.load(urllib.request.urlopen(sys.argv[1] + path)))
"""


def test_it_is_not_in_the_way_of_an_applications_own_packages(
    installed: Path, tmp_path: Path, database_url: str
) -> None:
    for package, module in (("api", "orders"), ("sql", "tables")):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / f"{module}.py").write_text(f"NAME = 'own {package}'\n")
    url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**conninfo_to_dict(database_url))
    (tmp_path / "application.py").write_text(APPLICATION.format(url=url))
    place = "import importlib.metadata as m; print(*sorted({f.parts[0] for f in m.files('flagent-cdc')}))"
    tops = run(installed / "python", "-c", place, cwd=tmp_path).split()
    assert [top for top in tops if not top.endswith(".dist-info")] == ["..", "flagent_cdc"]
    port = lasting_port()
    command: list[str | Path] = [installed / "python", "-m", "uvicorn", "application:app", "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            printed = run(installed / "python", "-c", CLIENT, f"http://127.0.0.1:{port}", cwd=tmp_path)
        finally:
            server.terminate()
    assert printed.splitlines() == ["['own api', 'own sql']", "[]"]


def test_it_is_typed_and_can_be_run_as_a_module(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "python", "-m", "flagent_cdc", "--version", cwd=tmp_path).startswith("flagent-cdc ")
    place = run(installed / "python", "-c", "import flagent_cdc; print(flagent_cdc.__path__[0])", cwd=tmp_path)
    assert (Path(place.strip()) / "py.typed").is_file()
    (tmp_path / "program.py").write_text(
        "import flagent_cdc\n\n\n"
        "async def first(url: str) -> str | None:\n"
        "    async for event in flagent_cdc.follow(url, flags=['a']):\n"
        "        return event.flag_key\n"
        "    return None\n"
    )
    check: list[str | Path] = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-executable",
        installed / "python",
        "program.py",
    ]
    assert "no issues found" in run(*check, cwd=tmp_path)
