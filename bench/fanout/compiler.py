"""Compiles the C programs of the benchmark on the machine that runs them."""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["binary"]

_HERE = Path(__file__).parent
_SOURCES = {"load": ["load.c", "stream.c", "segment.c", "phase.c", "conn.c"], "cloop": ["cloop.c"]}
_LIBRARIES = {"load": ["-lz"], "cloop": []}


def binary(name: str) -> Path:
    """The path of a compiled program; compiles it where its sources have changed."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("bench.fanout needs a C compiler (`cc`) and zlib's header (Debian: gcc, zlib1g-dev)")
    sources = [_HERE / source for source in _SOURCES[name]]
    digest = hashlib.sha256()
    for path in [*sources, *sorted(_HERE.glob("*.h"))]:
        digest.update(path.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"flagent-cdc-bench-{_user()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{name}-{digest.hexdigest()[:16]}"
    if not target.exists():
        fresh = target.with_suffix(".new")
        subprocess.run([compiler, "-O2", "-std=gnu11", "-Wall", "-o", fresh, *sources, *_LIBRARIES[name]], check=True)
        fresh.rename(target)
    return target


def _user() -> str:
    import getpass

    return getpass.getuser()
