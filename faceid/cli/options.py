"""Options that several commands share, each written once."""

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from faceid.cli import offers
from faceid.cli.config import is_from_file
from indexer.durable_file import require_file
from indexer.errors import FileNotWritten, GalleryError
from indexer.store.place import place_of
from indexer.text import printable

AnyFunction = Callable[..., Any]


class Number(click.FloatRange):
    """A finite number in a range: `nan` and `inf` are numbers to Python alone."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse the number."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class Device(click.ParamType[str]):
    """cpu, cuda, or one of several CUDA devices, as in cuda:1."""

    name = "cpu|cuda|cuda:N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the spelling; whether the device is there shows when it is used."""
        if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", str(value)):
            self.fail(f"{value!r} is no device; choose cpu, cuda or cuda:N, as in cuda:1", param, ctx)
        return str(value)


RATE = Number(0, 1, min_open=True, max_open=True)
SIMILARITY = Number(-1, 1)

# Policies that leave one face a photo, for commands that can use only one.
ONE_FACE = ("exactly-one", "largest", "centre")
ANY_FACES = (*ONE_FACE, "all")


class Name(click.ParamType[str]):
    """A name, which is UTF-8 whatever the locale says: where that is ASCII, Python hands its bytes on as surrogates."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text; bytes that are not UTF-8 stay surrogates, which no gallery takes for a name."""
        try:
            return os.fsencode(value).decode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # a text that the locale lacks: it came from the settings file
            return str(value)


NAME = Name()


class OutputFile(click.Path):
    """A file to write; a folder, a pipe or a device is refused before any work is done for it.

    With `ending` a file's name must end so: of photos on the command line the first is easily taken for the output.
    """

    def __init__(self, ending: str = "") -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self._ending = ending

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path of a file, which need not be there yet."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            require_file(path)
        except FileNotWritten as error:
            self.fail(str(error), param, ctx)
        if not path.name.endswith(self._ending):
            self.fail(f"{printable(path)} does not end in {self._ending}", param, ctx)
        return path


OUTPUT_FILE = OutputFile()
FEATURE_FILE = OutputFile(".npz")


class GalleryPlace(click.Path):
    """The folder of a gallery, or postgresql://USER@HOST:PORT/DATABASE/NAME."""

    def __init__(self, *, exists: bool = False) -> None:
        super().__init__(exists=exists, path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Tell the two apart."""
        try:
            place = place_of(value)
        except GalleryError as error:
            self.fail(str(error), param, ctx)
        return super().convert(place, param, ctx) if isinstance(place, Path) else place


def gallery_option(function: AnyFunction) -> AnyFunction:
    """Add `--gallery`: where the gallery is."""
    return click.option(
        "--gallery",
        "gallery_path",
        type=GalleryPlace(),
        envvar="FACEID_GALLERY",
        default=_default_gallery,
        show_default="the user's data folder",
        help="Folder of the gallery, or postgresql://USER@HOST:PORT/DATABASE/NAME.",
    )(function)


def engine_options(function: AnyFunction) -> AnyFunction:
    """Add the options of `FaceEngine`: model, device, backend, precision, detector, smallest face."""
    return model_option(tool_options(function))


def tool_options(function: AnyFunction) -> AnyFunction:
    """Add the options of `FaceEngine` but the model, for commands that are told it otherwise."""
    for option in (
        click.option(
            "--detector-weights",
            type=click.Path(dir_okay=False, path_type=Path),
            envvar="FACEID_DETECTOR_WEIGHTS",
            help="Weights file of a detector that does not bring its own.",
        ),
        click.option(
            "--detector",
            envvar="FACEID_DETECTOR",
            default="mtcnn",
            show_default=True,
            help="What finds the faces: mtcnn, yunet (with --detector-weights), or one that a package plugs in.",
        ),
        click.option(
            "--min-face-size",
            type=click.IntRange(min=12),
            default=20,
            show_default=True,
            help="Smallest face that is looked for, in pixels.",
        ),
        click.option(
            "--precision",
            type=click.Choice(["float32", "bfloat16", "auto"]),
            envvar="FACEID_PRECISION",
            default="float32",
            show_default=True,
            help="Arithmetic of the network; auto takes bfloat16 where the CPU is built for it.",
        ),
        click.option(
            "--backend",
            type=click.Choice(["auto", "torch", "onnxruntime", "openvino"]),
            envvar="FACEID_BACKEND",
            default="auto",
            show_default=True,
            help="What runs the network.",
        ),
        click.option(
            "--device",
            type=Device(),
            envvar="FACEID_DEVICE",
            default="cpu",
            show_default=True,
            help="Where networks run; cuda fails where there is none.",
        ),
    ):
        function = option(function)
    return function


def model_option(function: AnyFunction) -> AnyFunction:
    """Add `--model`."""
    return click.option(
        "--model",
        "model_name",
        envvar="FACEID_MODEL",
        shell_complete=offers.models,
        default=None,
        help="Name or file of the network (see `faceid models list`); a gallery stays bound to its own.",
    )(function)


def workers_options(function: AnyFunction) -> AnyFunction:
    """Add `--workers` and `--ray`: several processes that look at photos, on this machine or on a cluster's."""
    workers = click.option(
        "--workers",
        type=click.IntRange(1, 1024),
        envvar="FACEID_WORKERS",
        help="Processes that look at photos, each with its share of the threads; with --ray, Ray's workers.",
    )
    ray = click.option(
        "--ray",
        "ray_address",
        metavar="ADDRESS",
        envvar="FACEID_RAY",
        help="Let the workers be Ray's on the cluster at ADDRESS (HOST:6379, auto; local: one that is started here).",
    )
    return workers(ray(function))


def faces_option(policies: Sequence[str], default: str) -> Callable[[AnyFunction], AnyFunction]:
    """Add `--faces`: which faces of a photo count."""
    return click.option(
        "--faces",
        type=click.Choice(policies),
        default=default,
        show_default=True,
        help="Which faces of a photo count.",
    )


def output_option(function: AnyFunction) -> AnyFunction:
    """Add `--json` and `--csv`, which the command gets as `output`; without them a table for people."""
    for name, text in (("csv", "CSV with the same columns."), ("json", "JSON Lines, one object a record.")):
        function = click.option(
            f"--{name}", f"as_{name}", is_flag=True, expose_value=False, callback=_choose_output, help=text
        )(function)
    return function


def _choose_output(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    chosen = ctx.params.setdefault("output", None)
    if value and chosen is not None:
        if is_from_file(ctx, option.name or "") and not is_from_file(ctx, f"as_{chosen}"):
            return  # what was typed comes first
        raise click.UsageError("give --json or --csv, not both")
    if value:
        ctx.params["output"] = (option.name or "").removeprefix("as_")


def _default_gallery() -> Path:
    from platformdirs import user_data_path

    return user_data_path("faceid", appauthor=False) / "gallery"
