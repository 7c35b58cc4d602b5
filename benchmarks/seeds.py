"""How well and how fast labels grow from seeds, beside scikit-image's random walker; and what a quick model makes of the same seeds.

Seeds of real masks are made in two ways. Eroded: of each label the 15 % of its voxels that lie deepest, of the background all that lies more
than three voxels away. Strokes: in some slices of each label, drawn at random, the middle lines of its shape, and in twice as many slices a
line around all of them, four voxels away. Dice is the mean of the labels; seconds are those of the processor.

The walker sees brightness in standard deviations, has its equations solved to 1e-4, and is run with every beta below: what counts is the one
that does best in a row on average, which nobody knows beforehand. With pyamg its equations are solved faster.

    python benchmarks/seeds.py ../shared/data --only hippocampus cord phantom
    python benchmarks/seeds.py ../shared/data --draws 3           # an hour, most of it the random walker's in CT
    python benchmarks/seeds.py ../shared/data --without-walker    # a minute
    python benchmarks/seeds.py --speed                            # 2 and 18 million voxels, in the quick model and from seeds
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_seg3d.editing.quick_model import QuickModel
from napari_seg3d.editing.seeds import grow_from_seeds
from napari_seg3d.evaluation.counts import count_labels
from napari_seg3d.volumes import read_volume

Mask = NDArray[np.integer]
Seeds = NDArray[np.int64]
#: Spleen, kidneys, gall bladder, liver, stomach, pancreas, heart and aorta in the CT; spleen, kidneys, liver, stomach, pancreas and the
#: label 15 in the MR.
CT_ORGANS, MR_ORGANS = (1, 2, 3, 4, 5, 6, 7, 51, 52), (1, 2, 3, 5, 6, 7, 15)
BETAS = (130, 500, 2000, 8000, 30000, 120000)


class Scan(NamedTuple):
    """What is to be segmented, and how."""

    name: str
    image: NDArray[np.float32]
    mask: Mask
    spacing: tuple[float, ...]
    #: In how many slices of each label there are strokes.
    slices: tuple[int, ...]
    draws: int


def scans(folder: Path, hippocampi: int, draws: int) -> Iterator[Scan]:
    labels = sorted((folder / "hippocampus" / "labels").glob("*.nii.gz"))
    for path in labels[:: max(len(labels) // max(hippocampi, 1), 1)][:hippocampi]:
        yield read("hippocampus", path.parents[1] / "images" / path.name, path, (3,), 2)
    for image, mask in (("t2", "t2_seg-manual"), ("t2_fake_lesion", "t2_fake_lesion_sc_seg")):
        cord = folder / "spinalcord"
        yield read("spinal cord", cord / f"{image}.nii.gz", cord / f"{mask}.nii.gz", (2, 3), draws)
    organs = folder / "totalseg"
    yield read("organs in MR", organs / "example_mr_sm.nii.gz", organs / "example_seg_mr.nii.gz", (2, 3, 6), draws, MR_ORGANS)
    mask_path = organs / "example_seg_fast_force_split.nii.gz"
    yield read("organs in CT", organs / "example_ct.nii.gz", mask_path, (2, 3, 6), draws, CT_ORGANS)


def read(name: str, image: Path, mask: Path, slices: tuple[int, ...], draws: int, organs: tuple[int, ...] = ()) -> Scan:
    volume, labels = read_volume(image), read_volume(mask, "labels")
    values = labels.data[0].astype(np.int64)
    box = tuple(slice(0, side) for side in values.shape)
    if organs:
        values = np.where(np.isin(values, organs), values, 0)
        box = tuple(slice(max(side.start - 4, 0), side.stop + 4) for side in ndimage.find_objects((values > 0).astype(int))[0])
    return Scan(name, volume.data[0][box].astype(np.float32), values[box], labels.spacing, slices, draws)


def phantoms() -> Iterator[Scan]:
    """Yield four bodies in an uneven background, with little noise, with much, and with a bias field."""
    for noise, bias in ((10, 0.0), (40, 0.0), (20, 0.4)):
        for number in range(3):
            random = np.random.default_rng(100 + number)
            shape = (48, 56, 60)
            rough, uneven = (ndimage.gaussian_filter(random.normal(size=shape), sigma) for sigma in (4, 6))
            field = ndimage.gaussian_filter(random.normal(size=shape), 20)
            truth = np.zeros(shape, np.int64)
            for label in range(1, 5):
                middle, radius = random.uniform(0.25, 0.75, 3) * shape, random.uniform(0.12, 0.22, 3) * shape
                squares = [((at - a) / b) ** 2 for at, a, b in zip(np.indices(shape), middle, radius, strict=True)]
                far = np.sqrt(np.sum(squares, axis=0))
                truth[(far + 0.15 * rough / rough.std() < 1) & (truth == 0)] = label
            image = np.where(truth == 0, 30 + 40 * uneven / uneven.std(), np.array([0, 100, 140, 60, 100])[truth])
            image = ndimage.gaussian_filter(image, 0.7) * (1 + bias * field / abs(field).max()) + random.normal(0, noise, shape)
            yield Scan(f"phantom, noise {noise}, bias {bias}", image.astype(np.float32), truth, (1.0, 1.0, 1.0), (3,), 1)


def seeds_of(scan: Scan) -> Iterator[tuple[str, Seeds]]:
    yield "eroded", eroded(scan.mask, scan.spacing)
    for slices in scan.slices:
        for draw in range(scan.draws):
            yield f"strokes in {slices} slices", strokes(scan.mask, slices, draw)


def eroded(mask: Mask, spacing: tuple[float, ...]) -> Seeds:
    seeds = np.full(mask.shape, -1, np.int64)
    for label in np.unique(mask):
        inside = np.pad(mask == label, 1, mode="edge" if label == 0 else "constant")
        depth = ndimage.distance_transform_edt(inside, sampling=spacing)[1:-1, 1:-1, 1:-1]
        here = mask == label
        least = np.quantile(depth[here], 0.85) if label else 3.1 * min(spacing)
        seeds[here & (depth >= least)] = label
    return seeds


def strokes(mask: Mask, slices: int, draw: int) -> Seeds:
    random = np.random.default_rng(draw)
    seeds = np.full(mask.shape, -1, np.int64)
    for label in np.unique(mask):
        inside = mask == label
        holding = np.flatnonzero(inside.any((0, 1)))
        for at in random.choice(holding, min(slices if label else 2 * slices, len(holding)), replace=False):
            depth = ndimage.distance_transform_edt(np.pad(inside[..., at], 1))[1:-1, 1:-1]
            middle = (depth >= ndimage.maximum_filter(depth, 3)) & (depth >= min(2, depth.max()))
            seeds[..., at][middle if label else abs(depth - 4) < 0.5] = label
    return seeds


def ours(image: NDArray[np.generic], seeds: NDArray[np.int64], spacing: tuple[float, ...]) -> Mask:
    whole = tuple(slice(0, side) for side in image.shape)
    return grow_from_seeds(np.zeros(image.shape, np.int16), seeds, image, spacing, box=whole).values


def quick(image: NDArray[np.generic], seeds: NDArray[np.int64], spacing: tuple[float, ...]) -> Mask:
    model = QuickModel(image, spacing)
    whole = tuple(slice(0, side) for side in image.shape)
    model.learn(seeds, whole)
    return model.fill(np.zeros(image.shape, np.int16), whole, seeds).values


def walker(beta: float) -> Callable[[NDArray[np.generic], Seeds, tuple[float, ...]], Mask]:
    from skimage.segmentation import random_walker

    mode = "cg_mg" if importlib.util.find_spec("pyamg") else "cg_j"

    def walk(image: NDArray[np.generic], seeds: Seeds, spacing: tuple[float, ...]) -> Mask:
        labels = np.unique(seeds[seeds >= 0])
        marked = np.where(seeds >= 0, np.searchsorted(labels, seeds) + 1, 0)
        even = ((image - image.mean()) / image.std()).astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells of solvers that are not installed
            found = random_walker(even, marked, beta=beta, mode=mode, tol=1e-4, spacing=np.array(spacing) / min(spacing))
        return labels[np.maximum(found - 1, 0)]

    return walk


def measure(every: Iterator[Scan], with_walker: bool) -> None:
    methods = {"grow from seeds": ours, "quick model": quick}
    walkers = {f"random walker {beta}": walker(beta) for beta in BETAS} if with_walker else {}
    found: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for scan in every:
        labels = np.unique(scan.mask)[1:].tolist()
        for kind, seeds in seeds_of(scan):
            for name, method in {**methods, **walkers}.items():
                start = time.process_time()
                grown = method(scan.image, seeds, scan.spacing)
                spent = time.process_time() - start
                dice = np.mean([one.dice for one in count_labels(grown.astype(np.int64), scan.mask, labels).values()])
                found[scan.name, kind][name].append((float(dice), spent))
    columns = [*methods, *(["random walker"] if walkers else [])]
    print(
        "| scan | seeds | draws | "
        + " | ".join(f"{name}: Dice | s" for name in columns)
        + (" | beta | not below |" if walkers else " |")
    )
    print("| --- | --- | --- |" + " --- | --- |" * len(columns) + (" --- | --- |" if walkers else ""))
    for (name, kind), row in found.items():
        means = {method: np.mean(figures, axis=0) for method, figures in row.items()}
        cells = [f"{means[method][0]:.3f} | {means[method][1]:.2f}" for method in methods]
        if walkers:
            best = max(walkers, key=lambda method: means[method][0])
            good = sum(mine[0] >= other[0] for mine, other in zip(row["grow from seeds"], row[best], strict=True))
            cells += [f"{means[best][0]:.3f} | {means[best][1]:.2f}", best.rpartition(" ")[2], f"{good} of {len(row[best])}"]
        print(f"| {name} | {kind} | {len(row['grow from seeds'])} | " + " | ".join(cells) + " |")


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
            ("learning", lambda model=model, seeds=seeds, box=box: model.learn(seeds, box)),
            ("learning again", lambda model=model, seeds=seeds, box=box: model.learn(seeds, box)),
            ("filling", lambda model=model, mask=mask, box=box, seeds=seeds: model.fill(mask, box, seeds)),
        ):
            start = time.perf_counter()
            work()
            print(f"{name} {time.perf_counter() - start:.2f} s", end=", " if name != "filling" else "\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder of the real scans")
    parser.add_argument("--hippocampus", type=int, default=8, help="how many of these to take")
    parser.add_argument("--draws", type=int, default=5, help="how often strokes are drawn in cord and organs")
    parser.add_argument("--only", nargs="+", default=[""], help="words of the names of the scans to take")
    parser.add_argument("--without-walker", action="store_true")
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    if options.speed:
        speed()
    if options.data is not None:
        every = itertools.chain(phantoms(), scans(options.data, options.hippocampus, options.draws))
        measure((scan for scan in every if any(word in scan.name for word in options.only)), not options.without_walker)


if __name__ == "__main__":
    main()
