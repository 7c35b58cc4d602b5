"""How well and how fast labels grow from seeds, beside scikit-image's random walker; and what a quick model makes of the same seeds.

Seeds of real masks are made in two ways. Eroded: of each label the 15 % of its voxels that lie deepest, of the background all that lies more
than three voxels away. Strokes: in three slices of each label the middle lines of its shape, and a line around it four voxels away. Dice is
the mean of the labels.

    python benchmarks/seeds.py ../shared/data                    # a few minutes, most of them the random walker's
    python benchmarks/seeds.py ../shared/data --hippocampus 20
    python benchmarks/seeds.py --speed                           # two million voxels, in the quick model and from seeds
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_seg3d.editing.quick_model import QuickModel
from napari_seg3d.editing.seeds import grow_from_seeds
from napari_seg3d.evaluation.counts import count_labels
from napari_seg3d.volumes import read_volume

Mask = NDArray[np.integer]
#: Spleen, kidneys, gall bladder, liver, stomach, pancreas, heart and aorta in the CT.
ORGANS = (1, 2, 3, 4, 5, 6, 7, 51, 52)


def scans(folder: Path, hippocampi: int) -> Iterator[tuple[str, NDArray[np.generic], Mask, tuple[float, ...]]]:
    pairs = [("t2", "t2_seg-manual"), ("t2_fake_lesion", "t2_fake_lesion_sc_seg")]
    paths = [(folder / "spinalcord" / f"{image}.nii.gz", folder / "spinalcord" / f"{mask}.nii.gz") for image, mask in pairs]
    labels = sorted((folder / "hippocampus" / "labels").glob("*.nii.gz"))
    chosen = labels[:: max(len(labels) // max(hippocampi, 1), 1)][:hippocampi]
    paths += [(path.parents[1] / "images" / path.name, path) for path in chosen]
    for image_path, mask_path in paths:
        image, mask = read_volume(image_path), read_volume(mask_path, "labels")
        name = "hippocampus" if "hippocampus" in mask_path.parts else "spinal cord"
        yield name, image.data[0], mask.data[0], mask.spacing
    image = read_volume(folder / "totalseg" / "example_ct.nii.gz")
    mask = read_volume(folder / "totalseg" / "example_seg_fast_force_split.nii.gz", "labels")
    organs = np.where(np.isin(mask.data[0], ORGANS), mask.data[0], 0)
    box = tuple(slice(max(side.start - 4, 0), side.stop + 4) for side in ndimage.find_objects((organs > 0).astype(int))[0])
    yield "organs in CT", image.data[0][box], organs[box], mask.spacing


def eroded(mask: Mask, spacing: tuple[float, ...]) -> NDArray[np.int64]:
    seeds = np.full(mask.shape, -1, np.int64)
    for label in np.unique(mask):
        inside = np.pad(mask == label, 1, mode="edge" if label == 0 else "constant")
        depth = ndimage.distance_transform_edt(inside, sampling=spacing)[1:-1, 1:-1, 1:-1]
        here = mask == label
        least = np.quantile(depth[here], 0.85) if label else 3.1 * min(spacing)
        seeds[here & (depth >= least)] = label
    return seeds


def strokes(mask: Mask, _spacing: tuple[float, ...]) -> NDArray[np.int64]:
    random = np.random.default_rng(0)
    seeds = np.full(mask.shape, -1, np.int64)
    for label in np.unique(mask):
        inside = mask == label
        holding = np.flatnonzero(inside.any((0, 1)))
        for at in random.choice(holding, min(3 if label else 6, len(holding)), replace=False):
            depth = ndimage.distance_transform_edt(np.pad(inside[..., at], 1))[1:-1, 1:-1]
            middle = (depth >= ndimage.maximum_filter(depth, 3)) & (depth >= min(2, depth.max()))
            seeds[..., at][middle if label else abs(depth - 4) < 0.5] = label
    return seeds


def ours(image: NDArray[np.generic], seeds: NDArray[np.int64], spacing: tuple[float, ...]) -> Mask:
    whole = tuple(slice(0, side) for side in image.shape)
    return grow_from_seeds(np.zeros(image.shape, np.int16), seeds, image, spacing, box=whole).values


def quick(image: NDArray[np.generic], seeds: NDArray[np.int64], spacing: tuple[float, ...]) -> Mask:
    model = QuickModel(image, spacing, place=True)
    model.learn(seeds)
    return model.fill(np.zeros(image.shape, np.int16), tuple(slice(0, side) for side in image.shape), seeds).values


def walker(image: NDArray[np.generic], seeds: NDArray[np.int64], spacing: tuple[float, ...]) -> Mask:
    from skimage.segmentation import random_walker

    labels = np.unique(seeds[seeds >= 0])
    marked = np.where(seeds >= 0, np.searchsorted(labels, seeds) + 1, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of solvers that are not installed
        found = random_walker(image.astype(np.float64), marked, beta=130, mode="cg_j", spacing=np.array(spacing) / min(spacing))
    return labels[np.maximum(found - 1, 0)]


METHODS = {"random walker": walker, "grow from seeds": ours, "quick model": quick}


def measure(folder: Path, hippocampi: int) -> None:
    found: dict[tuple[str, str], list[list[tuple[float, float]]]] = defaultdict(list)
    for name, image, mask, spacing in scans(folder, hippocampi):
        for make in (eroded, strokes):
            seeds = make(mask, spacing)
            row = []
            for method in METHODS.values():
                start = time.perf_counter()
                grown = method(image, seeds, spacing)
                spent = time.perf_counter() - start
                labels = np.unique(mask)[1:].tolist()
                row.append((float(np.mean([one.dice for one in count_labels(grown, mask, labels).values()])), spent))
            found[name, make.__name__].append(row)
    print("| scan | seeds | cases | " + " | ".join(f"{method}: Dice | s" for method in METHODS) + " | not below the walker |")
    print("| --- | --- | --- |" + " --- | --- |" * len(METHODS) + " --- |")
    for (name, kind), rows in found.items():
        means = " | ".join(f"{dice:.3f} | {spent:.2f}" for dice, spent in np.mean(rows, axis=0))
        good = sum(row[1][0] >= row[0][0] for row in rows)
        print(f"| {name} | {kind} | {len(rows)} | {means} | {good} of {len(rows)} |")


def speed() -> None:
    random = np.random.default_rng(0)
    for shape in ((128, 128, 122), (300, 300, 200)):
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, side, dtype=np.float32) for side in shape), indexing="ij"))
        far = np.sqrt((grid**2).sum(axis=0))
        image = (100 * (far < 0.6) + random.normal(0, 20, shape)).astype(np.float32)
        seeds = np.full(shape, -1, np.int16)
        middle = shape[0] // 2
        seeds[middle][far[middle] < 0.1] = 1
        seeds[middle][abs(far[middle] - 0.9) < 0.02] = 0
        mask = np.zeros(shape, np.uint8)
        box = tuple(slice(0, side) for side in shape)
        start = time.perf_counter()
        grow_from_seeds(mask, seeds, image, (1.0, 1.0, 1.0), box=box)
        print(
            f"{np.prod(shape) / 1e6:.0f} million voxels: grow from seeds {time.perf_counter() - start:.2f} s",
            end="; quick model: ",
        )
        model = QuickModel(image, (1.0, 1.0, 1.0))
        for name, work in (
            ("features", lambda model=model, box=box: model.prepare(box)),
            ("learning", lambda model=model, seeds=seeds: model.learn(seeds)),
            ("learning again", lambda model=model, seeds=seeds: model.learn(seeds)),
            ("filling", lambda model=model, mask=mask, box=box, seeds=seeds: model.fill(mask, box, seeds)),
        ):
            start = time.perf_counter()
            work()
            print(f"{name} {time.perf_counter() - start:.2f} s", end=", " if name != "filling" else "\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder of the real scans")
    parser.add_argument("--hippocampus", type=int, default=8, help="how many of these to take")
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    if options.speed:
        speed()
    if options.data is not None:
        measure(options.data, options.hippocampus)


if __name__ == "__main__":
    main()
