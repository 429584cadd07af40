"""The curves as pictures."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from .findings import Curve

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOUR = "#0b6e4f"


def draw(curve: Curve, directory: Path) -> Path:
    """One picture, small enough to be kept beside a page."""
    over, points = curve.over
    shown, axes = plt.subplots(
        1, len(curve.lines), figsize=(3.4 * len(curve.lines), 2.6), layout="constrained"
    )
    each = axes if len(curve.lines) > 1 else [axes]
    for axis, (unit, values) in zip(each, curve.lines.items(), strict=True):
        axis.plot(points, values, "o-", color=COLOUR, markersize=4)
        axis.set_title(unit, loc="left", fontsize="small")
        axis.set_xlabel(over, fontsize="small")
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize="x-small")
        axis.spines[["top", "right"]].set_visible(False)
    shown.suptitle(curve.title, fontsize="medium")
    path = directory / f"{curve.name}.png"
    shown.savefig(path, dpi=80)
    plt.close(shown)
    return path
