"""Builds the wheel: in it, every package lies in `flagent_cdc`.

In a checkout the packages are `cdc`, `api` and `sql`. Installed beside another application, `api` and `sql` would be in
the way of its own packages of these names. The wheel therefore has them as `flagent_cdc.cdc`, `flagent_cdc.api` and
`flagent_cdc.sql`, with the import statements rewritten; nothing else in the files changes.
"""

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

_MOVED = ("api", "cdc", "sql")
_NAMES = "|".join(_MOVED)
_FROM = re.compile(rf"^(\s*(?:>>> )?)(from|import) ({_NAMES})(?=\.| import )", re.MULTILINE)
_IMPORT = re.compile(rf"^(\s*)import ({_NAMES})$", re.MULTILINE)


def rewritten(text: str) -> str:
    """The source of a module with its imports as in the wheel."""
    return _IMPORT.sub(r"\1from flagent_cdc import \2", _FROM.sub(r"\1\2 flagent_cdc.\3", text))


class MovingBuild(build_py):
    """Moves the packages after they were copied. An editable installation copies none, and keeps their names."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        library = Path(self.build_lib)
        home = library / "flagent_cdc"
        for name in _MOVED:
            (library / name).rename(home / name)
        for path in home.rglob("*.py"):
            path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")


class OnePackageWheel(bdist_wheel):
    """Names the package that the wheel has at its top."""

    def egg2dist(self, egginfo_path: str, distinfo_path: str) -> None:
        super().egg2dist(egginfo_path, distinfo_path)
        Path(distinfo_path, "top_level.txt").write_text("flagent_cdc\n", encoding="utf-8")


setup(cmdclass={"build_py": MovingBuild, "bdist_wheel": OnePackageWheel})
