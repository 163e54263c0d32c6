"""The picture: every row's ratio to every peer."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import Measured
from nncompile.bench.contender import PEERS

_COLOURS = dict(zip(PEERS, ("#999999", "#ee6677", "#4477aa", "#ccbb44", "#228833", "#aa3377"),
                    strict=True))


def draw(rows: Sequence[Measured], path: Path) -> None:
    """Writes an SVG: a panel for each number of threads, a line for each model and batch.

    Raises ImportError without matplotlib.
    """
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "benchmarks"     # the same picture, the same file
    shown = [m for m in rows if m.best is not None]
    threads = sorted({m.row.threads for m in shown})
    labels = list(dict.fromkeys((m.model, m.row.batch) for m in shown))
    figure, panels = pyplot.subplots(1, max(1, len(threads)), sharey=True, squeeze=False,
                                     figsize=(12, 1.5 + 0.17 * len(labels)))
    for panel, count in zip(panels[0], threads, strict=False):
        for peer, colour in _COLOURS.items():
            points = [(m.ratio(peer)[0], labels.index((m.model, m.row.batch))) for m in shown
                      if m.row.threads == count and peer in m.peers and m.peers[peer].seconds]
            panel.scatter([x for x, _ in points], [y for _, y in points], s=16, label=peer,
                          color=colour)
        panel.axvline(1, color="black", linewidth=0.8)
        panel.set(xscale="log", title=f"{count} thread{'s' * (count > 1)}",
                  xlabel="times as long as ours")
        panel.grid(axis="x", which="both", linewidth=0.3)
    panels[0][0].set_yticks(range(len(labels)), [f"{m} {b}" for m, b in labels], fontsize=6)
    panels[0][0].invert_yaxis()
    panels[0][-1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
