"""The wheel holds what the checkout holds, and twistd finds the plugin in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import pomeriumd

ROOT = Path(__file__).parent.parent
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "pomeriumd", "twisted")
TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


def run(*command: str | Path, where: Path) -> str:
    """Return what the command wrote to standard output; it has to succeed."""
    ran = subprocess.run(
        [str(word) for word in command], cwd=where, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory outside the checkout."""
    return tmp_path_factory.mktemp("packaging")


@pytest.fixture(scope="module")
def wheel(place: Path) -> Path:
    """Build the wheel from a copy, so that nothing of an earlier build gets in."""
    copy = place / "copy"
    copy.mkdir()
    leave = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=leave)
        else:
            shutil.copy(source, copy / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", where=copy)
    (made,) = (copy / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(place: Path, wheel: Path) -> Path:
    """Install the wheel into a fresh venv that sees our dependencies but not our checkout."""
    home = place / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    there = home / "bin" / "python"
    install = ("-m", "pip", "--python", there, "install", "--no-deps", "--no-index", wheel)
    run(sys.executable, *install, where=place)
    # A line of a .pth file adds a directory without reading the .pth files in it: the
    # editable installation of the checkout stays out.
    (site,) = (home / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return there


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    """Modules, templates, styles and the plugin are in the wheel, and nothing is foreign."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    checkout = {
        str(path.relative_to(ROOT))
        for top in ("pomeriumd", "twisted")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "dropin.cache"
    }
    assert inside == checkout
    assert "twisted/plugins/pomerium_plugin.py" in inside
    assert "twisted/__init__.py" not in inside


def test_the_wheel_holds_the_licence(wheel: Path) -> None:
    """Whoever gets the wheel gets the licence."""
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith("/LICENSE") for name in archive.namelist())


def test_the_import_is_the_wheels(python: Path, place: Path) -> None:
    """The venv under test does not see the checkout."""
    where = run(python, "-c", "import pomeriumd; print(pomeriumd.__file__)", where=place)
    assert Path(where.strip()).is_relative_to(place)


def test_twistd_finds_us(python: Path, place: Path) -> None:
    """``twistd pomerium`` is there, with our options and our version."""
    assert "--config=" in run(python, "-c", TWISTD, "pomerium", "--help", where=place)
    said = run(python, "-c", TWISTD, "pomerium", "--version", where=place)
    assert said == f"pomeriumd {pomeriumd.__version__}\n"


def test_the_command_line_is_there(python: Path, place: Path) -> None:
    """``pomeriumd`` is installed, and knows its version and its commands."""
    program = python.with_name("pomeriumd")
    assert run(program, "--version", where=place) == f"pomeriumd {pomeriumd.__version__}\n"
    said = run(program, "--help", where=place)
    for command in ("check", "demo", "verify"):
        assert f"\n  {command} " in said
