"""The wheel: what is in it, and that it does the main job from a folder whose own packages are called as ours."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from benchmarks.demo.people import write_people

ROOT = Path(__file__).parents[1]
ROOMS = ("faceid", "indexer", "training", "benchmarks")
NOT_IN_THE_WHEEL = ("benchmarks/measurements/", "training/gpu_run.sh", "training/run_in_background.sh")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources without a look at the network."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    for room in ROOMS:
        shutil.copytree(ROOT / room, sources / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, sources)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(sources)], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; its dependencies are those of the environment that tests it."""
    folder = tmp_path_factory.mktemp("fresh") / "environment"
    install(wheel, folder, sys.executable)
    return folder


def install(wheel: Path, folder: Path, interpreter: str) -> None:
    """Make an environment of an interpreter, with the wheel and our dependencies."""
    subprocess.run([interpreter, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    place = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(place, check=True, capture_output=True, text=True).stdout.strip())
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    installed = run([*install, str(wheel)], folder)
    assert installed.returncode == 0, installed.stderr
    # As a line in a .pth file, whose own .pth files are not read: the sources under test stay out of it.
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")


@pytest.fixture
def folder_with_our_names(tmp_path: Path) -> Path:
    """A user's project that has an `indexer`, a `training` and a `benchmarks` of its own."""
    for room in ("indexer", "training", "benchmarks"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("raise RuntimeError('the user's own package was imported')\n")
    return tmp_path


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment as a user's shell would: in the folder, without our paths and settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FACEID", "XDG"))}
    return subprocess.run(command, cwd=folder, env={**own, "HOME": str(folder)}, capture_output=True, text=True)


def test_every_file_of_the_rooms_is_in_the_wheel_but_the_measuring_scripts(wheel: Path) -> None:
    there = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there == {path for path in sources if not path.startswith(NOT_IN_THE_WHEEL)}


def test_people_are_enrolled_and_known_again_beside_foreign_packages_of_our_names(
    environment: Path, folder_with_our_names: Path
) -> None:
    folder, faceid = folder_with_our_names, str(environment / "bin" / "faceid")
    write_people(folder / "people", 3, 2, seed=3)
    write_people(folder / "searched", 3, 3, seed=3)  # the same people; the third photo is new

    enrolled = run([faceid, "enroll", "people", "--gallery", "gallery", "--json"], folder)
    assert enrolled.returncode == 0, enrolled.stderr
    assert [json.loads(line)["status"] for line in enrolled.stdout.splitlines()] == ["enrolled"] * 6

    photo = "searched/person-0002/3.jpg"
    found = run([faceid, "identify", photo, "--gallery", "gallery", "--threshold", "0.3", "--json"], folder)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["identity"]["name"] == "person-0002"


def test_where_foreign_packages_come_first_on_the_path_the_import_error_names_them(
    environment: Path, folder_with_our_names: Path
) -> None:
    (folder_with_our_names / "indexer" / "__init__.py").write_text("")
    for command in (["-c", "from faceid import FaceEngine"], ["-m", "faceid", "enroll", "people"]):
        refused = run([str(environment / "bin" / "python"), *command], folder_with_our_names)
        assert refused.returncode == 1
        assert f"'indexer' is hidden by {folder_with_our_names / 'indexer'}" in refused.stderr
