"""A failover under load as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOURS = {"p50": "#0b6e4f", "p99": "#b35900", "longest": "#5a6775"}


def draw(shares: Sequence[dict[str, Any]], path: Path) -> None:
    """What checks took, moment by moment, for each share of what one process can do."""
    shown, axes = plt.subplots(
        len(shares),
        figsize=(8, 2.1 * len(shares) + 0.6),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for share, axis in zip(shares, axes[:, 0], strict=True):
        moments = share["moments"]
        for name, colour in COLOURS.items():
            took = [each[name] for each in moments]
            axis.plot([each["at"] for each in moments], took, color=colour, label=name)
        axis.axvline(0, color="#b00020", linewidth=0.8)
        axis.set_yscale("log")
        title = f"{share['share']} %: {share['rate']:.0f} checks a second, ms from when one was due"
        axis.set_title(title, loc="left", fontsize="small")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False, fontsize="small", ncols=len(COLOURS))
    axes[-1, 0].set_xlabel("seconds since the primary was killed")
    shown.savefig(path, dpi=120)
    plt.close(shown)
