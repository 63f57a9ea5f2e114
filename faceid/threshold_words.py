"""A threshold in words: where it comes from, how sure it is, and what would make it better, with numbers."""

import math

from faceid.models.model_file import Model
from faceid.thresholds import identification_threshold
from indexer.calibration.self_measured import is_of_kept
from indexer.decision.decision import RULE_OF_THREE, Threshold
from indexer.errors import CalibrationError
from indexer.gallery import Gallery

USUAL_FPIR = 0.01

_OWN = "faceid calibrate --strangers DIR"


def describe(threshold: Threshold) -> str:
    """Return one line on a threshold for an FPIR: its value, its source, its interval, and the next step."""
    rate = threshold.target_value or 0.0
    low, high = threshold.ci95 or (0.0, 1.0)
    return (
        f"Accepted at {threshold.value:.4f}{_on(threshold)} for FPIR {_percent(rate)}: {_source(threshold)},"
        f" 95 % interval"
        f" {_percent(low)} to {_percent(high)}. {_next_step(threshold, rate)}"
    )


def threshold_line(model: Model, gallery: Gallery, detector: str | None = None) -> str:
    """Return `describe` of the gallery's threshold at the usual rate, or why there is none and what to do."""
    try:
        return describe(identification_threshold(model, gallery, USUAL_FPIR, detector=detector))
    except CalibrationError as error:
        return str(error)


def _on(threshold: Threshold) -> str:
    return " of the similarity less half of the next ten people's mean" if threshold.on == "context" else ""


def _source(threshold: Threshold) -> str:
    match threshold.way:
        case "cohort":
            basis = f"this gallery, {threshold.data}"
        case "strangers":
            basis = f"this gallery, {threshold.data}"
        case "gallery":
            basis = "this gallery, its own people"
        case "carried":
            return f"carried along by the model's cohort ({threshold.data}, before the gallery changed)"
        case _:
            basis = f"{threshold.data}, {threshold.measured_at} people"
    return f"{'measured' if threshold.measured else 'extrapolated'} ({basis})"


def _next_step(threshold: Threshold, rate: float) -> str:
    enough = math.ceil(RULE_OF_THREE / rate) if rate else 0
    trials = threshold.trials or 0
    match threshold.way:
        case "strangers" | "gallery" if threshold.measured:
            keep = " --keep-strangers" if is_of_kept(threshold.data) else ""  # others would come behind those kept
            return f"{4 * trials:,} strangers' photos would halve the interval (`{_OWN}{keep}`)."
        case "carried":
            return f"`{_OWN}` measures it anew; with --keep-strangers it stays measured when the gallery changes."
        case _:
            return f"{enough:,} photos of strangers like those your camera sees would measure it for them (`{_OWN}`)."


def _percent(rate: float) -> str:
    return f"{float(f'{100 * rate:.2g}'):g} %"  # 100 %, not 1e+02
