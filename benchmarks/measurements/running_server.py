"""A server in a process of its own, for measurements: started, watched, ended or killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

_TICKS = os.sysconf("SC_CLK_TCK")


class RunningServer:
    """`faceid serve` with a settings file, on a port that was free; FOLDER/server.log gets its log."""

    def __init__(self, folder: Path, settings: str) -> None:
        port = _free_port()
        self.address = f"http://127.0.0.1:{port}"
        self._log = (folder / "server.log").open("a")
        config = folder / "faceid.toml"
        config.write_text(f"[serve]\nport = {port}\n{settings}", encoding="utf-8")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "faceid", "serve", "--config", str(config)]
        self.process = subprocess.Popen(command, stderr=self._log, env=environment)

    def wait_until_ready(self) -> None:
        """Wait for the first request to be taken; raises RuntimeError where the server ends instead."""
        while True:
            if self.process.poll() is not None:
                said = Path(self._log.name).read_text(encoding="utf-8")[-2000:]
                raise RuntimeError(f"the server ended with {self.process.returncode}: ...{said}")
            try:
                if httpx.get(f"{self.address}/v1/ready").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                time.sleep(0.05)

    def cpu_seconds(self) -> float:
        """Return the processor time of all its threads so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mib(self) -> float:
        """Return its resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def open_files(self) -> int:
        """Return how many files and sockets it holds."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def kill(self) -> None:
        """End it without a word (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait()
        self._log.close()
        return code


def _free_port() -> int:
    """Return a port that nobody listens at: a server that an earlier measurement left behind must not answer here."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
