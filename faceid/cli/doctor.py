"""`faceid doctor`: what is installed, what this machine can do, and whether model and gallery are sound."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import click

from faceid.cli.options import gallery_option, model_option, output_option
from faceid.cli.output import write_records
from indexer.errors import FaceIdError
from indexer.store.place import Place
from indexer.text import counted

PACKAGES = (
    "faceid-engine", "torch", "faiss-cpu", "faiss-gpu", "numpy", "scipy", "sqlalchemy", "alembic",
    "opencv-python-headless", "pillow", "mtcnn", "safetensors", "onnxruntime", "openvino",
)  # fmt: skip

WIDEST_STATE = 44  # characters: with what it is about and the verdict, a terminal of 80 columns shows them whole

Finding = tuple[str, str, bool]  # what, how it is, whether that is sound


@click.command(epilog="Example: faceid doctor --gallery staff")
@gallery_option
@model_option
@output_option
@click.pass_context
def doctor(ctx: click.Context, gallery_path: Place, model_name: str | None, output: str | None) -> None:
    """Show versions, devices, threads and precision; check the model and the gallery (exit 1 if one is unsound)."""
    findings = [*_installed(), *_machine(), *_model(model_name), *_gallery(gallery_path)]
    write_records(
        findings,
        output,
        _record,
        lambda finding: {"what": finding[0], "state": finding[1], "verdict": "" if finding[2] else "PROBLEM"},
        WIDEST_STATE,
    )
    ctx.exit(0 if all(sound for _, _, sound in findings) else 1)


def _record(finding: Finding) -> dict[str, object]:
    what, state, sound = finding
    return {"what": what, "state": state, "sound": sound}


def _installed() -> Iterator[Finding]:
    yield "python", platform.python_version(), True
    for package in PACKAGES:
        try:
            yield package, version(package), True
        except PackageNotFoundError:
            yield package, "not installed", True
    faiss_builds = [name for name in ("faiss-cpu", "faiss-gpu") if _is_installed(name)]
    yield (
        "faiss builds",
        ", ".join(faiss_builds) or "none: install faceid-engine[cpu] or [gpu]",
        len(faiss_builds) == 1,
    )


def _machine() -> Iterator[Finding]:
    from faceid.inference.cpu_features import available_cores, cpu_features, has_bfloat16

    yield "CUDA device", _cuda(), True
    yield "CPU features", ", ".join(sorted(cpu_features())) or "none of note", True
    yield "precision auto means", "bfloat16" if has_bfloat16() else "float32", True
    try:
        import faiss
    except ImportError as error:  # a fast search alone needs it
        yield "threads", f"networks {available_cores()}", True
        yield "faiss compiled for", f"cannot be imported: {error}", True
    else:
        yield "threads", f"networks {available_cores()}, faiss {faiss.omp_get_max_threads()}", True
        yield "faiss compiled for", faiss.get_compile_options().strip(), True


def _cuda() -> str:
    if find_spec("torch") is None:
        return "not looked for: it needs PyTorch, which is not installed"
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"


def _model(name: str | None) -> Iterator[Finding]:
    from faceid.models.model_zoo import verify_model

    try:
        model = verify_model(name)
        yield "model", f"{model.spec.name}, digest {model.digest}", True
    except FaceIdError as error:
        yield "model", str(error), False


def _gallery(path: Place) -> Iterator[Finding]:
    from faceid.cli.session import has_gallery
    from faceid.models.model_zoo import find_model
    from faceid.threshold_words import threshold_line
    from faceid.vision.mtcnn import DIGEST
    from indexer.gallery import Gallery

    try:
        if not has_gallery(path):
            yield "gallery", f"none at {path}", True
            return
        with Gallery.open(path) as gallery:
            problems = gallery.check()
            stats = gallery.stats()
            yield (
                "gallery",
                f"{path}: {counted(stats.identities, 'person', 'people')}, "
                f"{counted(stats.templates, 'template', 'templates')}, model {stats.model.name}",
                True,
            )
            yield "gallery's encryption", _encryption(path), True
            yield "gallery's vectors", _turned(stats.turned_by), True
            yield (
                "gallery's precisions",
                ", ".join(f"{k}: {v}" for k, v in stats.precisions.items()),
                len(stats.precisions) < 2,
            )
            yield (
                "gallery check",
                "; ".join(problem.text for problem in problems) or "no problem",
                not problems,
            )
            yield "gallery's threshold", threshold_line(find_model(stats.model.name), gallery, DIGEST), True
    except (FaceIdError, OSError) as error:
        yield "gallery", str(error), False


def _encryption(path: Place) -> str:
    """Say how a gallery lies on the disk, and how fast this machine opens what is sealed."""
    from indexer.crypto.envelope import read_envelope

    if not isinstance(path, Path):
        return "the server's own, if any: whoever may read its database has everybody's vectors and names"
    envelope = read_envelope(path)
    if envelope is None:
        return "none: whoever copies the folder has everybody's vectors and names (docs/protection.md)"
    people = ", each person under a key of its own" if envelope.people else ""
    return f"encrypted under the key {envelope.key_id}{people}; AES-GCM at {_sealed_speed():.1f} GB a CPU second"


def _turned(key_id: str | None) -> str:
    return "as the model gives them" if key_id is None else f"turned by the key {key_id}: cancelable"


def _sealed_speed() -> float:
    import time

    from indexer.crypto.sealed import open_bytes, seal_bytes

    size, seconds = 8 << 20, []
    sealed = seal_bytes(bytes(32), "speed", bytes(size))
    for _ in range(3):  # the first pays for what is loaded
        start = time.process_time()
        open_bytes(bytes(32), "speed", sealed)
        seconds.append(time.process_time() - start)
    return size / 1e9 / max(min(seconds), 1e-9)


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False
