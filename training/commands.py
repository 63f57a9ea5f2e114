"""The `train` commands, which `faceid` takes in through the entry-point group `faceid.commands`."""

import json
from pathlib import Path
from typing import Literal

import click


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


@train.command("export")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Model file to write."
)
@click.option("--training-data", required=True, help="What the network has seen, in words.")
@click.option("--licence", default="Apache-2.0", show_default=True, help="Of the weights.")
@click.option(
    "--flip",
    type=click.Choice(["none", "sum", "concat"]),
    default="sum",
    show_default=True,
    help="What is done with the mirrored face.",
)
@click.option("--table-of", help="Model whose threshold table goes along: an earlier export, calibrated since.")
@click.option(
    "--accuracies",
    "accuracies_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON list of measured accuracies to go along: measure, value, data, date, trials, ci95.",
)
def export_command(
    run: Path,
    output: Path,
    training_data: str,
    licence: str,
    flip: Literal["none", "sum", "concat"],
    table_of: str | None,
    accuracies_file: Path | None,
) -> None:
    """Write the network of the run in folder RUN as a model file."""
    from faceid.model_file import Accuracy
    from faceid.model_zoo import find_model, load_calibrations
    from training.export import export_model

    measured = json.loads(accuracies_file.read_text(encoding="utf-8")) if accuracies_file else []

    model = export_model(
        run,
        output,
        training_data=training_data,
        licence=licence,
        flip=flip,
        calibrations=load_calibrations(find_model(table_of)) if table_of else (),
        accuracies=[Accuracy(**record | {"ci95": tuple(record["ci95"])}) for record in measured],
    )
    click.echo(f"{model.path}  sha256 {model.digest}")
