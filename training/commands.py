"""The `train` commands, which `faceid` takes in through the entry-point group `faceid.commands`."""

from pathlib import Path
from typing import Literal

import click

from faceid.cli.options import OUTPUT_FILE, Number, OutputFile
from indexer.durable_file import writing
from indexer.text import plain

PICTURE = OutputFile(".png")
PART_MIB = Number(0.001, 1e6)


@click.group()
def train() -> None:
    """Train a network on aligned faces."""


@train.command("run", epilog="Example: faceid train run training/configs/sphereface.yaml -o runs/mine")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the checkpoint and the logs; a run that was stopped goes on from there.",
)
@click.option(
    "--within",
    type=Number(0, 1e9),
    help="Seconds: fewer epochs than CONFIG says where this machine, measured on the first steps, does no more.",
)
def run_command(config: Path, output: Path, within: float | None) -> None:
    """Train as CONFIG (YAML) says."""
    from training.config import read_config
    from training.distributed import leads
    from training.timed_run import run_within
    from training.trainer import run

    settings = read_config(config)
    result = run(settings, output) if within is None else run_within(settings, output, within)
    if leads():
        click.echo(result.text())


@train.command("clean", epilog="Example: faceid train clean mine.yaml --model sphereface -o left-out.txt")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", required=True, help="Model that judges the faces; not one that was trained on them.")
@click.option(
    "-o",
    "--output",
    type=OUTPUT_FILE,
    required=True,
    help="List of suspects to write; data.leave_out in a config takes it.",
)
@click.option(
    "--limit",
    type=Number(-180, 180),
    help="Degrees from the own centre that are too many; found from the data if absent.",
)
def clean_command(config: Path, model: str, output: Path, limit: float | None) -> None:
    """List the training faces of CONFIG that are probably not of the person they are filed under."""
    from training.config import read_config
    from training.data.opening import open_faces
    from training.research.label_noise import find_label_noise, report
    from training.teacher import teacher_embeddings

    settings = read_config(config)
    faces = open_faces(settings.data.training, side=settings.data.side, only_faces=settings.data.only_faces)
    cache = settings.cache if settings.cache is not None else output.parent
    noise = find_label_noise(teacher_embeddings(model, faces, cache), faces.labels, limit)
    with writing(output) as unfinished:
        unfinished.write_text("\n".join(report(noise, faces)) + "\n", encoding="utf-8")
    click.echo(
        f"{output}: {noise.suspect.sum()} of {len(faces.labels)} faces are suspects; "
        f"limit {noise.limit:.1f} degrees from the own centre"
    )


@train.command("overlap", epilog="Example: faceid train overlap mine.yaml lfw --model sphereface -o left-out.txt")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("test", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", required=True, help="Network that TEST was embedded by; not one that was trained on CONFIG.")
@click.option(
    "-o",
    "--output",
    type=OUTPUT_FILE,
    required=True,
    help="List of the faces of such people to write; data.leave_out in a config takes it.",
)
def overlap_command(config: Path, test: Path, model: str, output: Path) -> None:
    """Look for people of TEST (features with labels) among the training faces of CONFIG, labelled or not."""
    from faceid.feature_file import read_features
    from faceid.models.model_zoo import find_model
    from training.config import read_config
    from training.data.opening import open_training
    from training.research.overlap import faces_in_doubt, find_overlap, known_people, report
    from training.teacher import teacher_embeddings

    settings = read_config(config)
    network = find_model(model)
    people = known_people(read_features(test), network.digest, network.spec.dimension)
    faces = open_training(settings.data)
    cache = settings.cache if settings.cache is not None else output.parent
    embeddings = teacher_embeddings(model, faces, cache, mirrored=False)
    overlap = find_overlap(embeddings, faces, people)
    with writing(output) as unfinished:
        unfinished.write_text("\n".join(faces_in_doubt(overlap, faces)) + "\n", encoding="utf-8")
    for line in report(overlap):
        click.echo(plain(line))  # it quotes names


@train.command("targets", epilog="Example: faceid train targets mine.yaml -o targets")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=OUTPUT_FILE,
    required=True,
    help="File to write; distill.targets in a config takes it.",
)
def targets_command(config: Path, output: Path) -> None:
    """Write what the teacher of CONFIG makes of its training faces, for machines that have no teacher."""
    from training.config import read_config
    from training.targets import make_targets

    count = make_targets(read_config(config), output)
    click.echo(f"{output}: {count} faces, {output.stat().st_size / 2**20:.1f} MiB")


@train.command("pack", epilog="Example: faceid train pack mine.yaml --model sphereface -o packed.tar")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", required=True, help="Model that judges how far the faces may be compressed.")
@click.option(
    "--cosine",
    type=Number(0, 1),
    default=0.98,
    show_default=True,
    help="Mean cosine between before and after, at least.",
)
@click.option("--part-mib", type=PART_MIB, default=28.0, show_default=True, help="Longest file to write, in MiB.")
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write."
)
def pack_command(config: Path, model: str, cosine: float, part_mib: float, output: Path) -> None:
    """Write the faces of CONFIG anew, much smaller, in parts that can travel to another machine one by one."""
    from training.config import read_config
    from training.repack import repack

    done = repack(read_config(config).data, output, model, cosine=cosine, part_bytes=int(part_mib * 2**20))
    whole = sum(part.stat().st_size for part in done.parts) / 2**20
    click.echo(
        f"{output}: {done.faces[0]} labelled faces, {done.faces[1]} unlabelled, {done.faces[2]} for validation; WebP "
        f"of quality {done.quality}, {done.face_bytes:.0f} bytes a face, mean cosine {done.cosine:.4f}; "
        f"{len(done.parts)} parts, {whole:.1f} MiB"
    )


@train.command("export", epilog="Example: faceid train export runs/mine -o mine.safetensors --training-data mine")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=OutputFile(".safetensors"), required=True, help="Model file to write.")
@click.option("--training-data", required=True, help="What the network has seen, in words.")
@click.option("--licence", default="Apache-2.0", show_default=True, help="Of the weights.")
@click.option(
    "--flip",
    type=click.Choice(["none", "sum", "concat"]),
    default="sum",
    show_default=True,
    help="What is done with the mirrored face.",
)
@click.option("--best", is_flag=True, help="Take the checkpoint with the best validation, not the last one.")
@click.option(
    "--table-of", help="Model whose threshold table goes along: an earlier export of this network, calibrated since."
)
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
    best: bool,
    flip: Literal["none", "sum", "concat"],
    table_of: str | None,
    accuracies_file: Path | None,
) -> None:
    """Write the network of the run in folder RUN as a model file."""
    import msgspec

    from faceid.models.model_file import Accuracy
    from faceid.models.model_zoo import find_model
    from training.export import export_model

    try:
        measured = msgspec.json.decode(accuracies_file.read_bytes() if accuracies_file else b"[]", type=list[Accuracy])
    except (msgspec.DecodeError, RecursionError) as error:
        raise click.UsageError(f"{accuracies_file}: not a list of measured accuracies ({error})") from error
    model = export_model(
        run,
        output,
        training_data=training_data,
        licence=licence,
        best=best,
        flip=flip,
        table_of=find_model(table_of) if table_of else None,
        accuracies=measured,
    )
    click.echo(f"{model.path}  sha256 {model.digest}")


@train.command("quantise", epilog="Example: faceid train quantise mine --config mine.yaml -o mine-int8.onnx")
@click.argument("model")
@click.option(
    "--config",
    "config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Config whose training faces set the ranges, and whose validation people it is measured on.",
)
@click.option("-o", "--output", type=OUTPUT_FILE, required=True, help="ONNX file to write.")
def quantise_command(model: str, config: Path, output: Path) -> None:
    """Write the network of MODEL in 8-bit integers, and measure what that costs."""
    from faceid.models.model_zoo import find_model
    from training.config import read_config
    from training.data.opening import open_faces
    from training.research.quantise import quantise, report

    data = read_config(config).data
    calibration, strangers = (
        open_faces(paths, side=data.side, only_faces=data.only_faces) for paths in (data.training, data.validation)
    )
    for line in report(quantise(find_model(model), output, calibration, strangers)):
        click.echo(line)


@train.command("degraded", epilog="Example: faceid train degraded mine.yaml sphereface mine")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("models", nargs=-1, required=True)
def degraded_command(config: Path, models: tuple[str, ...]) -> None:
    """Measure MODELS on the validation people of CONFIG with probes made worse: small, blurred, turned, covered."""
    from faceid.models.model_zoo import find_model
    from training.config import read_config
    from training.data.opening import open_faces
    from training.research.degraded import measure_degraded, table

    data = read_config(config).data
    faces = open_faces(data.validation, side=data.side, only_faces=data.only_faces)
    for line in table(models, measure_degraded([find_model(model) for model in models], faces)):
        click.echo(line)


@train.command("toy", epilog="Example: faceid train toy -o toy.png")
@click.option("-o", "--output", type=PICTURE, required=True, help="Picture (PNG) to write.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, help="Of the people and the networks."
)
def toy_command(output: Path, seed: int) -> None:
    """Draw what margins do: a few people in 2-D and 3-D under softmax and A-Softmax with m = 1 to 4."""
    from training.research.toy import write_toy_figure

    for line in write_toy_figure(output, seed):
        click.echo(line)


@train.command("angles", epilog="Example: faceid train angles features.npz -o angles.png")
@click.argument("features", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=PICTURE, required=True, help="Picture (PNG) to write.")
def angles_command(features: Path, output: Path) -> None:
    """Draw how far apart the people of FEATURES (as `faceid embed` writes them) are, in degrees."""
    from faceid.feature_file import read_features
    from training.research.angles import draw_angles, measure_angles

    known = read_features(features)
    try:
        angles = measure_angles(known.features, known.labels)
    except ValueError as error:
        raise click.UsageError(f"{features}: {error}") from error
    draw_angles(angles, features.stem, output)
    click.echo(
        f"own centre {angles.own_centre.mean():.1f}, nearest other centre {angles.other_centre.mean():.1f}, "
        f"largest within a person {angles.within.mean():.1f}, smallest to others {angles.between.mean():.1f} degrees "
        f"(means); ideal criterion: margin {angles.ideal_margin:.1f} degrees, "
        f"held by {100 * angles.people_within_criterion:.1f} % of the people"
    )


@train.command("speed", epilog="Example: faceid train speed mine.yaml")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def speed_command(config: Path) -> None:
    """Measure how fast CONFIG trains here, beside the fastest matrix products of this machine."""
    from training.config import read_config
    from training.research.speed import measure_speed, report

    for line in report(measure_speed(read_config(config))):
        click.echo(line)


@train.command("study", epilog="Example: faceid train study training/studies/losses.yaml -o studies/losses")
@click.argument("study", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the runs; those that ended are kept, the others go on.",
)
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1), help="Runs at a time.")
def study_command(study: Path, output: Path, jobs: int) -> None:
    """Train the runs of STUDY (YAML), which differ in one thing each: losses, depths, seeds; print how each ended."""
    from training.research.study import read_outcome, read_study, train_study

    configs = read_study(study)
    train_study(configs, output, jobs)
    for name in configs:
        if (outcome := read_outcome(output / name)) is not None:
            click.echo(f"{name}: {outcome.text()}")


@train.command("compare", epilog="Example: faceid train compare studies/losses --photos lfw --pairs pairs.txt")
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="LFW: a folder of photos for each person.",
)
@click.option(
    "--pairs", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="LFW's pairs.txt."
)
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1), help="Runs at a time.")
def compare_command(folders: tuple[Path, ...], photos: Path, pairs: Path, jobs: int) -> None:
    """Print the figures on LFW of all runs of the studies in FOLDERS, as a Markdown table."""
    from training.research.study import diverged_runs
    from training.research.study_figures import LANDMARKS, measure_study, table

    landmarks = folders[0] / LANDMARKS  # found once for all studies
    figures = [each for folder in folders for each in measure_study(folder, photos, pairs, landmarks, jobs)]
    diverged = {name: why for folder in folders for name, why in diverged_runs(folder).items()}
    for line in table(figures, diverged):
        click.echo(line)
