"""The demo's page: one HTML file that holds its pictures and charts, and a JSON file with the same figures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.demo.story import Shown, Story
from benchmarks.report.figure_style import INK, MATED, NON_MATED
from benchmarks.report.html_page import figure_url, picture_url, render
from benchmarks.results.results import Rate

TEMPLATE = "demo/page.html.jinja"
PICTURES = 15  # of known people and of strangers each, the mistakes first
PEOPLE = 9  # in the row of enrolled people
PICTURE_SIDE = 320  # pixels, at most


def write_page(story: Story, folder: Path) -> Path:
    """Write index.html and figures.json to the folder; returns the page's path."""
    page = folder / "index.html"
    page.write_text(
        render(
            TEMPLATE,
            story=story,
            people=_enrolled_people(story),
            known=_pictures(story.known),
            strangers=_pictures(story.strangers),
            histogram=_histogram(story),
            curve=_distractor_chart(story) if story.distractors else None,
        ),
        encoding="utf-8",
    )
    (folder / "figures.json").write_text(json.dumps(figures(story), indent=2) + "\n", encoding="utf-8")
    return page


def figures(story: Story) -> dict[str, Any]:
    """Return the page's figures as JSON-able values; rates are shares, 0..1."""
    return {
        "generated_faces": story.cast.generated,
        "model": story.model,
        "people_enrolled": story.people,
        "templates": story.templates,
        "threshold": story.threshold.value,
        "threshold_target_fpir": story.threshold.target_value,
        "threshold_trials": story.threshold.trials,
        "rank1": _record(story.rank1),
        "fnir": _record(story.fnir),
        "fpir": _record(story.fpir),
        "distractors": [{"distractors": size, "rank1": _record(rate)} for size, rate in story.distractors],
        "similarity_same_person": [float(story.genuine.mean()), float(story.genuine.std())],
        "similarity_two_people": [float(story.impostor.mean()), float(story.impostor.std())],
        "seconds": round(story.seconds, 1),
    }


def _record(rate: Rate) -> dict[str, Any]:
    return {"hits": rate.hits, "trials": rate.trials, "rate": rate.rate, "ci95": list(rate.ci95)}


def _enrolled_people(story: Story) -> list[tuple[str, list[str]]]:
    """Return the first people with their enrolled photos as data URLs."""
    photos: dict[str, list[Path]] = {}
    for photo in story.cast.enrolled:
        photos.setdefault(photo.name, []).append(photo.path)
    return [
        (name, [url for path in photos[name] if (url := picture_url(path, PICTURE_SIDE))])
        for name in list(photos)[:PEOPLE]
    ]


def _pictures(shown: Sequence[Shown]) -> list[tuple[Shown, str | None]]:
    chosen = sorted(shown, key=lambda one: one.right)[:PICTURES]
    return [(one, picture_url(one.picture, PICTURE_SIDE) if one.picture else None) for one in chosen]


def _histogram(story: Story) -> str:
    figure = Figure(figsize=(7.6, 3.1))
    axes = figure.subplots()
    edges = np.linspace(min(-0.2, float(story.impostor.min())), 1, 61).tolist()
    for scores, colour, label in (
        (story.impostor, NON_MATED, f"two people ({len(story.impostor):,} pairs)"),
        (story.genuine, MATED, f"one person ({len(story.genuine):,} pairs)"),
    ):
        axes.hist(scores, bins=edges, weights=np.full(len(scores), 100 / max(len(scores), 1)), color=colour, alpha=0.65)
        axes.hist([], color=colour, alpha=0.65, label=label)
    axes.axvline(story.threshold.value, color=INK, linestyle="--", linewidth=1.2, label="threshold of the search")
    axes.set_xlabel("similarity (cosine) of two photos")
    axes.set_ylabel("% of the pairs")
    return _legible(figure)


def _distractor_chart(story: Story) -> str:
    figure = Figure(figsize=(7.6, 2.6))
    axes = figure.subplots()
    sizes = [size for size, _ in story.distractors]
    rates = np.array([rate.rate for _, rate in story.distractors]) * 100
    bounds = np.array([rate.ci95 for _, rate in story.distractors]).T * 100
    axes.errorbar(
        sizes, rates, yerr=np.abs(bounds - rates), color=MATED, marker="o", capsize=4, label="rank-1, 95 % interval"
    )
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("distractors")
    axes.set_ylabel("rank-1, %")
    axes.set_ylim(max(0, bounds.min() - 5), 101)
    return _legible(figure)


def _legible(figure: Figure) -> str:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    figure.tight_layout()
    return figure_url(figure)
