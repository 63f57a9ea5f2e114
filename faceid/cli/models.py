"""`faceid models ...`: the networks at hand.  In Python: `faceid.models.model_zoo`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceid.cli import offers
from faceid.cli.calibrate import FARS, FPIRS, WIDEST_REMARK, table_row
from faceid.cli.options import ONE_FACE, OUTPUT_FILE, Number, faces_option, output_option, tool_options
from faceid.cli.output import progress, say, write_facts, write_records

if TYPE_CHECKING:
    from faceid.models.model_zoo import ListedModel


PIXEL = Number(-1e6, 1e6)
DIVISOR = Number(0, 1e6, min_open=True)


class InputSize(click.ParamType[tuple[int, int]]):
    """HEIGHTxWIDTH in pixels, as in 112x96."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse the size."""
        if isinstance(value, tuple):
            return value
        sides = re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", str(value).lower())
        if not sides:
            self.fail(f"{value!r} is not HEIGHTxWIDTH, as in 112x112", param, ctx)
        return int(sides[1]), int(sides[2])


@click.group()
def models() -> None:
    """List, import, check and calibrate networks. NAME may also be the path of a model file."""


@models.command(name="list", epilog="Example: faceid models list")
@output_option
def list_(output: str | None) -> None:
    """List the models, the shipped ones and those imported."""
    from faceid.models.model_zoo import list_models

    write_records(list_models(), output, _listed, _listed)


@models.command(epilog="Example: faceid models info sphereface")
@click.argument("name", shell_complete=offers.models)
@output_option
def info(name: str, output: str | None) -> None:
    """Show all that is known of a model: architecture, input, training data, accuracies, licence, digest."""
    from faceid.models.model_zoo import find_model, load_calibrations

    model = find_model(name)
    facts = model.spec.to_record() | {"digest": model.digest, "path": str(model.path)}
    facts["calibrations"] = [
        {
            "target": c.target,
            "gallery_size": c.gallery_size,
            "trials": c.trials,
            "data": c.data,
            "date": c.date,
        }
        for c in load_calibrations(model)
    ]
    if output:
        write_records([facts], output, dict, dict)
    else:
        write_facts(facts, ("fact", "value"))


@models.command(name="import", epilog="Example: faceid models import net.onnx --name mine --bgr --licence MIT")
@click.argument("onnx_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="What to call it (default: the file's stem).")
@click.option(
    "--input", "input_size", type=InputSize(), help="Height and width of its input (default: what it states)."
)
@click.option("--output", metavar="NAME", help="Which of several outputs gives the embeddings.")
@click.option("--rgb", "colour", flag_value="rgb", default="rgb", help="Colour order of its input (default).")
@click.option("--bgr", "colour", flag_value="bgr", help="Colour order of its input.")
@click.option("--mean", type=PIXEL, default=127.5, show_default=True, help="Subtracted from the pixels (0..255).")
@click.option("--std", type=DIVISOR, default=128.0, show_default=True, help="Divides them afterwards.")
@click.option(
    "--flip",
    type=click.Choice(["none", "sum", "concat"]),
    default="none",
    show_default=True,
    help="What is done with the mirrored face.",
)
@click.option("--licence", default="unknown", show_default=True, help="Licence of the weights.")
@click.option("--training-data", default="unknown", show_default=True, help="What it was trained on.")
@click.option("--replace", is_flag=True, help="Replace a model of this name.")
def import_(onnx_file: Path, **settings: Any) -> None:
    """Take in somebody's ONNX network: aligned faces in, one embedding each out."""
    from faceid.models.model_zoo import import_onnx

    model = import_onnx(onnx_file, **settings)
    say(f"{model.spec.name}: {model.spec.dimension}-d, input {model.spec.input_size}, digest {model.digest}")
    say(f"Next: faceid models calibrate {model.spec.name} --photos DIR, with DIR one folder of photos per person")


@models.command(epilog="Example: faceid models export sphereface sphereface.onnx")
@click.argument("name", shell_complete=offers.models)
@click.argument("destination", type=OUTPUT_FILE)
def export(name: str, destination: Path) -> None:
    """Copy a model to DESTINATION: a model file (.safetensors) or an ONNX network (.onnx)."""
    from faceid.models.model_zoo import export_model

    export_model(name, destination)
    say(f"{name} written to {destination}.")


@models.command(epilog="Example: faceid models verify sphereface")
@click.argument("name", shell_complete=offers.models)
def verify(name: str) -> None:
    """Check a model's file and run it once."""
    from faceid.models.model_zoo import verify_model

    model = verify_model(name)
    say(f"{model.spec.name} is sound: digest {model.digest}.")


@models.command(epilog="Example: faceid models calibrate mine --photos people")
@click.argument("name", shell_complete=offers.models)
@click.option(
    "--photos",
    "people_dir",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="One folder of photos per person.",
)
@tool_options
@faces_option(ONE_FACE, default="largest")
@output_option
@click.pass_context
def calibrate(
    ctx: click.Context,
    /,
    name: str,
    people_dir: Path,
    faces: Any,
    output: str | None,
    **settings: Any,
) -> None:
    """Make a model's threshold table from labelled photos: FPIR at several gallery sizes, and FAR."""
    from faceid.cli.session import make_engine
    from faceid.engine import explain
    from faceid.thresholds import calibrate_model_from_photos, model_rows
    from faceid.vision.photo_list import photos_of_people

    engine = make_engine(name, **settings)
    failures = calibrate_model_from_photos(
        engine, progress(photos_of_people(people_dir), "photos"), people_dir.name, faces=faces
    )
    for failure in failures:
        say(explain(failure))
    rows = model_rows(engine.model, FPIRS, FARS)
    write_records(rows, output, dict, table_row, widest=WIDEST_REMARK)
    ctx.exit(3 if any(failure.error for failure in failures) else 0)


def _listed(listed: "ListedModel") -> dict[str, object]:
    spec = listed.model.spec if listed.model else None
    return {
        "name": listed.name,
        "architecture": spec and spec.architecture,
        "dimension": spec and spec.dimension,
        "input": spec and "x".join(map(str, spec.input_size)),
        "shipped": listed.shipped,
        "licence": spec and spec.licence,
        "digest": listed.model and listed.model.digest[:12],
        "error": listed.error,
    }
