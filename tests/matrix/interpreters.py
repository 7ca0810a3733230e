"""The Python interpreters of this machine, by version."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

__all__ = ["interpreter"]


def interpreter(version: str) -> Path | None:
    """An installed Python of this version, such as 3.12, that can make virtual environments."""
    return next((each for each in _candidates(version) if _is(each, version)), None)


def _candidates(version: str) -> Iterator[Path]:
    found = shutil.which(f"python{version}")
    if found is not None:
        yield Path(found)
    # The programs that pyenv puts on the PATH run only the versions that the user has selected.
    home = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    yield from sorted(home.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)


def _is(python: Path, version: str) -> bool:
    program = "import sys, venv; print('{}.{}'.format(*sys.version_info))"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == version
