"""What deploy/ promises, as far as it runs without an image: a user without rights, code that is read-only, one folder.

The steps of the Containerfile are done on this machine: a fresh environment, its settings, its user, its commands.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.demo.people import write_people
from tests.test_wheel import ROOT, install
from tests.test_wheel import wheel as wheel  # a fixture

DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
UID = int(re.findall(r"USER (\d+)", CONTAINERFILE)[0])

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Image:
    """The folders of an image on this machine, and how a command runs in it."""

    code: Path
    data: Path

    @property
    def settings(self) -> dict[str, str]:
        """What the Containerfile puts into the environment."""
        said = re.search(r"^ENV ((?:.*\\\n)*.*)$", CONTAINERFILE, re.MULTILINE)
        assert said is not None
        pairs = dict(pair.split("=", 1) for pair in said[1].replace("\\\n", " ").split())
        return {name: self.here(value.replace("$PATH", os.defpath)) for name, value in pairs.items()}

    def here(self, path: str) -> str:
        """A path of the image on this machine."""
        return path.replace("/opt/faceid", str(self.code)).replace("/data", str(self.data))

    def start(self, *arguments: str, **more: Any) -> "subprocess.Popen[str]":
        """Start the entry point as the image's user."""
        user = {"user": UID, "group": UID, "extra_groups": []} if os.geteuid() == 0 else {}
        command = [str(self.code / "bin" / "faceid"), *arguments]
        environment = {"HOME": str(self.data), **self.settings}
        return subprocess.Popen(command, cwd=self.data, env=environment, text=True, **user, **more)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command to its end: exit status, standard output, standard error."""
        process = self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate()
        return process.returncode, out, err

    def files_of_the_code(self) -> dict[str, int]:
        """All files of the code and when they were written."""
        return {str(path): path.stat().st_mtime_ns for path in self.code.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def image(wheel: Path) -> Iterator[Image]:
    """The Containerfile's folders: code that nobody may write, data that only its user may."""
    interpreter = _interpreter_for_everybody()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        made = Image(folder / "opt" / "faceid", folder / "data")
        install(wheel, made.code, interpreter)
        made.data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(made.data, UID, UID)
        for path in [made.code, *made.code.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~0o222 | 0o444)
        status, _, said = made.run("--version")
        if status:
            pytest.skip(f"another user cannot read what is installed here: {said[-200:]}")
        yield made
        for path in [made.code, *made.code.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)


def _interpreter_for_everybody() -> str:
    """The Python that tests this where every user may run it, else the system's of the same version."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for found in (os.path.realpath(sys.executable), shutil.which(name, path="/usr/local/bin:/usr/bin")):
        if found and (os.geteuid() or all(folder.stat().st_mode & 0o001 for folder in Path(found).parents)):
            return found
    pytest.skip(f"no {name} here that a user without rights could run")


def test_the_image_wants_a_key_first_and_then_serves_from_one_writable_folder(image: Image, tmp_path: Path) -> None:
    before = image.files_of_the_code()
    command = json.loads(re.findall(r"^CMD (.*)$", CONTAINERFILE, re.MULTILINE)[0])
    assert json.loads(re.findall(r"^ENTRYPOINT (.*)$", CONTAINERFILE, re.MULTILINE)[0]) == ["faceid"]
    status, _, said = image.run(*command)
    assert (status, "faceid serve keys make" in said) == (2, True)

    status, key, _ = image.run("serve", "keys", "make", "admin", "--role", "admin")
    assert status == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    photo, again = write_people(tmp_path / "people", 1, 2, seed=5)
    server = image.start(*command, "--port", str(port), stderr=subprocess.PIPE)
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key.strip()}"}, timeout=120
        ) as client:
            _wait_until_ready(client, server)
            people = "/v1/galleries/default/people"
            enrolled = client.post(people, data={"name": "Ada"}, files={"photos": photo.read_bytes()})
            assert enrolled.status_code == 200, enrolled.text
            told = client.post("/v1/galleries/default/identify", files={"photos": again.read_bytes()}).json()
            assert told["answers"][0]["identity"]["name"] == "Ada"
    finally:
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate()
    assert server.returncode == 0, log
    assert image.files_of_the_code() == before
    written = {path.relative_to(image.data).parts[0] for path in image.data.rglob("*") if path.is_file()}
    assert written <= {"faceid", "cache"}


def _wait_until_ready(client: httpx.Client, server: "subprocess.Popen[str]") -> None:
    while server.poll() is None:
        try:
            if client.get("/v1/ready").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(server.communicate()[1])


def test_the_images_user_may_not_write_its_code(image: Image) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become the image's user")
    trying = subprocess.run(["touch", str(image.code / "bin" / "new")], user=UID, group=UID, capture_output=True)
    assert trying.returncode != 0


def test_the_unit_is_one_that_systemd_takes_and_lets_it_write_one_folder(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    unit = (DEPLOY / "faceid.service").read_text(encoding="utf-8")
    copy = tmp_path / "faceid.service"
    copy.write_text(unit.replace("/opt/faceid/bin/faceid", "/bin/true"), encoding="utf-8")
    found = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    assert "ProtectSystem=strict" in unit
    assert re.findall(r"^(?:StateDirectory|ReadWritePaths)=(.*)$", unit, re.MULTILINE) == ["faceid"]
