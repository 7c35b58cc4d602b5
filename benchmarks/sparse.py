"""How good a mask gets when only a few slices of one scan are painted.

Of one scan with a complete mask, n slices are kept as if a person had painted them, spread evenly over the slices that hold a label;
the rest of the mask is wiped. A run trains on that one scan (`targets.known: slices`), predicts it, and is compared with the complete mask on
all slices that were not painted.

    python benchmarks/sparse.py SCAN MASK --labels 5=liver 1=spleen --minutes 3
    python benchmarks/sparse.py SCAN MASK --slices 1 3 5 9 --figure docs/images/sparse.svg --title "CT, 3 mm" --add figures.json

With `--ends`, a slice just beyond each end of the structure is said to be empty, too, with a dot of the background value: what costs a
person two clicks. With `--add`, the figures are put into a file beside those of earlier scans, and the figure shows all of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_seg3d.datasets import read_mask
from napari_seg3d.evaluation import dice_per_label
from napari_seg3d.inference import Predictor
from napari_seg3d.training import TrainConfig, start_run
from napari_seg3d.volumes import Volume, read_volume, write_volume

_EMPTY = 250  # the value of the dots in slices that are empty


def paint(mask: Volume, count: int, ends: bool) -> tuple[Volume, list[int]]:
    """Return a canonical mask of which only `count` axial slices are painted, and perhaps the ends, and which these are."""
    canonical = mask.canonical()
    filled = np.flatnonzero(canonical.data.any(axis=(0, 1, 2)))
    # The middle of n equal parts: a person begins in the middle and goes on between.
    chosen = [int(filled[int((part + 0.5) * len(filled) / count)]) for part in range(count)]
    sparse = np.zeros_like(canonical.data)
    sparse[..., chosen] = canonical.data[..., chosen]
    for beyond in (int(filled[0]) - 2, int(filled[-1]) + 2) if ends else ():
        if 0 <= beyond < sparse.shape[3]:
            sparse[..., 0, 0, beyond] = _EMPTY
            chosen.append(beyond)
    return canonical.with_data(sparse), chosen


def rest_dice(prediction: Volume, mask: Volume, painted: list[int], labels: list[int]) -> dict[int, float]:
    """Return the Dice of each label on the slices that were not painted."""
    others = np.setdiff1d(np.arange(mask.data.shape[3]), painted)
    return dice_per_label(prediction.canonical().data[..., others], mask.data[..., others], labels)


def measure(scan: Volume, mask: Volume, count: int, ends: bool, minutes: float, settings: dict[str, object]) -> dict[int, float]:
    """Train on `count` painted slices and return the Dice of each label on the others."""
    labels = [int(value) for value in np.unique(mask.data) if value]
    with tempfile.TemporaryDirectory() as scratch:
        sparse, painted = paint(mask, count, ends)
        root = Path(scratch) / "data"
        write_volume(scan, root / "images" / "scan.nii.gz")
        write_volume(sparse, root / "labels" / "scan.nii.gz")
        config = TrainConfig.parse({"data": {"images": str(root)}})
        run = start_run(
            config.with_values(
                {"targets.known": "slices", "targets.background": _EMPTY, "optimization.minutes": minutes, **settings}
            ),
            Path(scratch) / "run",
        )
        while not (status := run.status()).ended:
            time.sleep(1)
        if status.state != "finished":
            raise SystemExit(f"{status.message}\n{run.log.read_text()}")
        prediction = Predictor.load(run.best).predict(scan)
        return rest_dice(prediction.labels, mask, painted, labels)


def draw(figures: list[dict[str, object]], path: Path) -> None:
    """Draw the Dice of each scan and label over the number of painted slices."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "napari-seg3d", "font.family": "sans-serif"})
    drawing, axes = plt.subplots(figsize=(6.4, 3.8), constrained_layout=True)
    for figure in figures:
        counts = sorted(int(count) for count in figure["dice"])  # type: ignore[union-attr]
        for name in figure["dice"][str(counts[0])]:  # type: ignore[index]
            axes.plot(counts, [figure["dice"][str(n)][name] for n in counts], marker="o", label=f"{figure['title']}: {name}")  # type: ignore[index]
    axes.set(xlabel="painted slices of one scan", ylabel="Dice on the slices that were not painted", ylim=(0, 1))
    axes.set_xticks(counts)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")
    drawing.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("--labels", nargs="*", default=[], metavar="VALUE=NAME", help="labels to keep; left out, all")
    parser.add_argument("--slices", nargs="+", type=int, default=[1, 3, 5, 9])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--ends", action="store_true", help="say of a slice beyond each end that it is empty")
    parser.add_argument("--set", nargs="*", default=[], metavar="SETTING=VALUE", help="further settings, such as network.dims=2")
    parser.add_argument("--title", default="")
    parser.add_argument("--add", type=Path, help="a JSON file that collects the figures of several scans")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()

    scan, mask = read_volume(options.scan, "image"), read_mask(options.mask)
    names = {int(value): name for value, _, name in (label.partition("=") for label in options.labels)}
    if names:
        mask = mask.with_data(np.where(np.isin(mask.data, list(names)), mask.data, 0).astype(mask.data.dtype))
    mask = replace(mask.canonical(), labels={})
    settings = {name: json.loads(value) for name, _, value in (each.partition("=") for each in options.set)}
    found: dict[str, dict[str, float]] = {}
    for count in options.slices:
        dice = measure(scan, mask, count, options.ends, options.minutes, settings)
        found[str(count)] = {names.get(value, f"label {value}"): round(score, 4) for value, score in dice.items()}
        print(f"{count} painted: {found[str(count)]}", flush=True)
    figures = [{"title": options.title or options.scan.name, "minutes": options.minutes, "dice": found}]
    if options.add is not None:
        figures = [*(json.loads(options.add.read_text()) if options.add.exists() else []), *figures]
        options.add.write_text(json.dumps(figures, indent=1))
    if options.figure is not None:
        draw(figures, options.figure)


if __name__ == "__main__":
    main()
