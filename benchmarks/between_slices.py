"""How well slices are filled in between, beside ITK's morphological contour interpolation.

Of real masks every second, fourth and eighth slice is kept, across each of the three axes, and the rest is filled. Dice is that of single
labels in the slices that were not kept, between the first and the last kept slice that hold the label; a label needs two. ITK's filter is
measured where `pip install itk-morphologicalcontourinterpolation` was done.

    python benchmarks/between_slices.py ../shared/data                     # every scan named below that is there
    python benchmarks/between_slices.py ../shared/data --hippocampus 40
    python benchmarks/between_slices.py --speed                            # a label like a liver in 512 x 512 x 300 voxels
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.between import fill_between, painted_slices
from napari_seg3d.errors import ConfigError
from napari_seg3d.evaluation.counts import count_labels
from napari_seg3d.volumes import read_volume

Mask = NDArray[np.integer]
Filler = Callable[[Mask, NDArray[np.generic], tuple[float, ...], int], Mask]

#: Image, mask.
SCANS = [
    ("totalseg/example_ct.nii.gz", "totalseg/example_seg_fast_force_split.nii.gz"),
    ("totalseg/example_mr_sm.nii.gz", "totalseg/example_seg_mr.nii.gz"),
    ("spinalcord/t2.nii.gz", "spinalcord/t2_seg-manual.nii.gz"),
    ("spinalcord/t2_fake_lesion.nii.gz", "spinalcord/t2_fake_lesion_sc_seg.nii.gz"),
    ("formats/FLAIR.nii.gz", "formats/lesion.nii.gz"),
    ("nrrd/brain1_image.nrrd", "nrrd/brain1_label.nrrd"),
]
KEPT = (2, 4, 8)


def scans(folder: Path, hippocampi: int) -> Iterator[tuple[str, NDArray[np.generic], Mask, tuple[float, ...]]]:
    pairs = [(folder / image, folder / mask) for image, mask in SCANS]
    labels = sorted((folder / "hippocampus" / "labels").glob("*.nii.gz"))
    chosen = labels[:: max(len(labels) // max(hippocampi, 1), 1)][:hippocampi]
    pairs += [(path.parents[1] / "images" / path.name, path) for path in chosen]
    for image_path, mask_path in pairs:
        if mask_path.exists():
            image, mask = read_volume(image_path), read_volume(mask_path, "labels")
            name = "hippocampus" if "hippocampus" in mask_path.parts else mask_path.name.split(".")[0]
            yield name, image.data[0], mask.data[0], mask.spacing


def ours(with_image: bool) -> Filler:
    def fill(kept: Mask, image: NDArray[np.generic], spacing: tuple[float, ...], axis: int) -> Mask:
        filled = kept.copy()
        try:
            change = fill_between(kept, spacing, axis, image=image if with_image else None)
        except ConfigError:  # no label is in two kept slices
            return filled
        filled[change.box] = change.values
        return filled

    return fill


def itks(kept: Mask, _image: NDArray[np.generic], _spacing: tuple[float, ...], axis: int) -> Mask:
    import itk

    small = kept.astype(np.uint16 if kept.max() > 255 else np.uint8)
    filter_ = itk.morphological_contour_interpolator(itk.image_from_array(np.ascontiguousarray(small.T)), axis=axis)
    return np.asarray(itk.array_from_image(filter_)).T.astype(kept.dtype)


def measure(folder: Path, hippocampi: int) -> None:
    methods: dict[str, Filler] = {"shape": ours(False), "image": ours(True)}
    if importlib.util.find_spec("itk") is not None:
        methods = {"ITK": itks, **methods}
    dice: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    worse: dict[tuple[str, int], int] = defaultdict(int)
    seconds = dict.fromkeys(methods, 0.0)
    for name, image, mask, spacing in scans(folder, hippocampi):
        for axis in range(3):
            for every in KEPT:
                kept = np.zeros_like(mask)
                some = tuple(slice(0, None, every) if other == axis else slice(None) for other in range(3))
                kept[some] = mask[some]
                filled = {}
                for method, fill in methods.items():
                    start = time.perf_counter()
                    filled[method] = fill(kept, image, spacing, axis)
                    seconds[method] += time.perf_counter() - start
                for label in np.unique(kept)[1:].tolist():
                    row = [_dice(filled[method], mask, kept, label, axis, every) for method in methods]
                    if not np.isnan(row).any():
                        for group in (name, "all"):
                            dice[group, every].append(row)
                        for method, one in zip(methods, row, strict=True):
                            worse[method, every] += one < row[0] - 0.02
    print("| scan | kept every | labels | " + " | ".join(methods) + " |")
    print("| --- | --- | --- |" + " --- |" * len(methods))
    for group in dict.fromkeys(name for name, _ in dice):
        for every in KEPT:
            rows = dice.get((group, every))
            if rows:
                print(
                    f"| {group} | {every} | {len(rows)} | " + " | ".join(f"{mean:.3f}" for mean in np.mean(rows, axis=0)) + " |"
                )
    print("seconds:", {method: round(spent, 1) for method, spent in seconds.items()})
    first, *others = methods
    for method in others:
        print(
            f"labels in which {method} is more than 0.02 below {first}:",
            {every: f"{worse[method, every]} of {len(dice['all', every])}" for every in KEPT},
        )


def _dice(filled: Mask, mask: Mask, kept: Mask, label: int, axis: int, every: int) -> float:
    painted = painted_slices(kept, label, axis)
    if len(painted) < 2:
        return float("nan")
    hidden = [at for at in range(painted[0], painted[-1]) if at % every]
    parts = (np.take(array, hidden, axis) for array in (filled, mask))
    return count_labels(*parts, [label])[label].dice


def speed() -> None:
    shape = (300, 512, 512)
    z, y, x = np.ogrid[tuple(slice(size) for size in shape)]
    wave = 20 * np.sin(z / 20)
    truth = ((z - 150) / 75) ** 2 + ((y - 250 - wave) / 110) ** 2 + ((x - 260 + wave) / 130) ** 2 < 1
    random = np.random.default_rng(0)
    image = np.where(truth, 100, 40).astype(np.int16)
    image += random.integers(-30, 30, shape, np.int16)
    mask = np.zeros(shape, np.uint8)
    mask[::8] = truth[::8]
    print(f"{np.count_nonzero(truth) / 1e6:.1f} million voxels of the label in {shape}, every 8th slice kept")
    for name, under in (("shape", None), ("image", image)):
        start, busy = time.perf_counter(), time.process_time()
        fill_between(mask, (1.0, 0.8, 0.8), 0, labels=[1], image=under)
        print(f"{name}: {time.perf_counter() - start:.2f} s, {time.process_time() - busy:.2f} s of the processor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder of the real scans")
    parser.add_argument("--hippocampus", type=int, default=20, help="how many of these to take")
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    if options.speed:
        speed()
    if options.data is not None:
        measure(options.data, options.hippocampus)


if __name__ == "__main__":
    main()
