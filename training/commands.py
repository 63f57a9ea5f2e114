"""The `train` commands, which `faceid` takes in through the entry-point group `faceid.commands`."""

from pathlib import Path

import click

from indexer.errors import FaceIdError


@click.group()
def train() -> None:
    """Train a network on aligned faces."""


@train.command("run")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the checkpoint and the logs; a run that was stopped goes on from there.",
)
def run_command(config: Path, output: Path) -> None:
    """Train as CONFIG (YAML) says."""
    from training.config import read_config
    from training.trainer import run

    result = run(read_config(config), output)
    click.echo(f"accuracy {result.accuracy:.4f}  tar {result.tar:.4f}  rank1 {result.rank1:.4f}")


if __name__ == "__main__":
    try:
        train()
    except FaceIdError as error:
        raise SystemExit(f"Error: {error}") from error
