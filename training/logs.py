"""The logs of a run: CSV files, TensorBoard's event files, and the line that a user watches."""

import csv
from collections.abc import Mapping
from pathlib import Path

from indexer.durable_file import replacing
from training.errors import ConfigError


class CsvLog:
    """A CSV file with a row a step; rows after the checkpoint's step are of work that was lost, and go."""

    def __init__(self, path: Path, *, keep_until: int) -> None:
        self.path = path
        kept = [row for row in whole_rows(path) if int(row["step"]) <= keep_until]
        with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
            if kept:
                writer = csv.DictWriter(file, list(kept[0]))
                writer.writeheader()
                writer.writerows(kept)

    def add(self, step: int, row: Mapping[str, float]) -> None:
        """Write the row, with six digits a value."""
        empty = self.path.stat().st_size == 0
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["step", *row])
            if empty:
                writer.writeheader()
            writer.writerow({"step": step, **{name: f"{value:.6g}" for name, value in row.items()}})

    def rows(self, *names: str) -> list[tuple[float, ...]]:
        """Return the values of these columns, row by row."""
        return [tuple(float(row[name]) for name in names) for row in whole_rows(self.path)]


def whole_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of such a file, none where there is none; those that a power cut has torn are left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    return [row for row in csv.DictReader(line for line in lines if line.endswith("\n")) if _is_whole(row)]


def _is_whole(row: Mapping[str, str]) -> bool:
    """Whether each cell is a number, as many as there are columns."""
    try:
        return int(row["step"]) >= 0 and [float(value) for value in row.values()] != []
    except (KeyError, ValueError, TypeError):
        return False


class EventLog:
    """The same values for TensorBoard, in event files; those after the checkpoint's step are hidden by it."""

    def __init__(self, folder: Path, *, keep_until: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "the config says tensorboard: true, which needs the package tensorboard; "
                "pip install 'faceid-engine[train]', or leave it out (the CSV files hold the same)"
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=keep_until + 1)

    def add(self, kind: str, step: int, row: Mapping[str, float]) -> None:
        """Write each value under `kind`/NAME."""
        for name, value in row.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def progress_line(
    step: int, *, steps: int, per_epoch: int, row: Mapping[str, float], speed: float, batch_size: int
) -> str:
    """Say where the run is, how fast (`speed` in images/s), and how long it will take."""
    left = round((steps - step) * batch_size / speed)
    figures = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
    return (
        f"step {step}/{steps}  epoch {step / per_epoch:.2f}  {figures}  {speed:.0f} images/s  "
        f"ETA {left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
    )
