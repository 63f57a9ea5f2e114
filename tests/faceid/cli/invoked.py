"""A command run in this process, whose exit code is expected; and the key files that commands are given."""

from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from benchmarks.measurements.durability.encryption import write_key
from faceid.cli import cli


def invoke(*arguments: Any, code: int = 0) -> Result:
    """Run `faceid ARGUMENTS...`, and fail unless it exits with the code."""
    result = CliRunner().invoke(cli, [str(one) for one in arguments])
    assert result.exit_code == code, (arguments, result.output, result.exception)
    return result


def key_file(path: Path, number: int) -> str:
    """Write a key of 32 equal bytes; return how commands are told of it."""
    return f"file:{write_key(path, number).path}"
