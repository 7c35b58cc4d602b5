"""Distances between surfaces, ours beside MONAI's: HD95, ASSD and NSD of the same masks, in one run.

Two volumes of organs (ellipsoids, of which the prediction is moved and swollen by some millimetres) with eight labels, 256 x 256 x 256 and
512 x 512 x 300. MONAI gets each label by itself, which it cuts to its box as we do, and computes each metric with the function of its
documentation. Ours is `measure_masks`, with the counts and volumes that it gives as well. The fastest of several rounds counts; the
largest difference of a number is told.

    python benchmarks/metrics.py
    python benchmarks/metrics.py --rounds 3 --surface areas
    python benchmarks/metrics.py --masks PREDICTED.nii.gz REFERENCE.nii.gz
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np

from napari_seg3d.evaluation import EvaluationRow, measure_masks
from napari_seg3d.volumes import Volume, read_volume

_LABELS = 8


def organs(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> tuple[Volume, Volume]:
    """Return a predicted and a reference mask of ellipsoids of 15 to 60 mm."""
    random = np.random.default_rng(0)
    places = np.ogrid[tuple(slice(0, length) for length in shape)]
    masks = np.zeros((2, *shape), np.uint8)
    extent = np.multiply(shape, spacing)
    for label in range(1, _LABELS + 1):
        centre, radii = random.uniform(0.25, 0.75, 3) * extent, random.uniform(15, 60, 3)
        for mask, (moved, grown) in zip(masks, ((random.normal(0, 1.5, 3), random.normal(0, 2)), (0, 0)), strict=True):
            distance = sum(
                ((place * step - middle) / (radius + grown)) ** 2
                for place, step, middle, radius in zip(places, spacing, centre + moved, radii, strict=True)
            )
            mask[distance < 1] = label
    affine = np.diag([*spacing, 1.0])
    return Volume(masks[:1], affine, "labels"), Volume(masks[1:], affine, "labels")


def with_monai(predicted: Volume, reference: Volume, areas: bool) -> dict[int, tuple[float, float, float]]:
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    found = {}
    for label in np.union1d(np.unique(predicted.data), np.unique(reference.data))[1:]:
        both = [torch.from_numpy(volume.data[np.newaxis] == label) for volume in (predicted, reference)]
        how = {"include_background": True, "spacing": list(reference.spacing)}
        hd95 = compute_hausdorff_distance(*both, percentile=95, **how)
        assd = compute_average_surface_distance(*both, symmetric=True, **how)
        nsd = compute_surface_dice(*both, [1.0], use_subvoxels=areas, **how)
        found[int(label)] = (float(hd95), float(assd), float(nsd))
    return found


def with_ours(predicted: Volume, reference: Volume, areas: bool) -> list[EvaluationRow]:
    return measure_masks(predicted, reference, surface="areas" if areas else "voxels")


def compare(title: str, predicted: Volume, reference: Volume, rounds: int, areas: bool) -> None:
    theirs, ours, best = {}, [], {"MONAI": math.inf, "ours": math.inf}
    for _ in range(rounds):
        start = time.perf_counter()
        theirs = with_monai(predicted, reference, areas)
        between = time.perf_counter()
        ours = with_ours(predicted, reference, areas)
        best["MONAI"] = min(best["MONAI"], between - start)
        best["ours"] = min(best["ours"], time.perf_counter() - between)
    # By areas, MONAI has the NSD alone.
    mine = {row.label: (row.hd95, row.assd, row.nsd)[2 if areas else 0 :] for row in ours}
    apart = max(float(np.max(np.abs(np.subtract(mine[label], values[2 if areas else 0 :])))) for label, values in theirs.items())
    sizes = " x ".join(map(str, reference.grid.shape))
    dice = np.mean([row.dice for row in ours])
    print(f"{title}: {sizes}, {len(ours)} labels, mean Dice {dice:.3f}")
    print(f"  MONAI {best['MONAI']:.2f} s, ours {best['ours']:.2f} s, the largest difference of a number {apart:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--surface", choices=["voxels", "areas"], default="voxels")
    parser.add_argument("--masks", type=Path, nargs=2, metavar=("PREDICTED", "REFERENCE"))
    options = parser.parse_args()
    areas = options.surface == "areas"
    if options.masks:
        predicted, reference = (read_volume(path, "labels") for path in options.masks)
        compare(options.masks[0].name, predicted, reference, options.rounds, areas)
        return
    compare("Organs", *organs((256, 256, 256), (1.0, 1.0, 1.0)), options.rounds, areas)
    compare("Organs", *organs((512, 512, 300), (0.8, 0.8, 1.5)), options.rounds, areas)


if __name__ == "__main__":
    main()
