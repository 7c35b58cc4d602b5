"""How long every tool of the Correct dock takes, on masks of 512 x 512 x 300 voxels of 0.8 x 0.8 x 1.5 mm.

    python benchmarks/editing.py [--repeat 3] [--only WORD]

Local tools (a stroke, a click, a polygon) should stay below 0.1 s, those that work on a whole label below 5 s, on two cores. The labels are
those of a CT of the trunk: a liver of 1.5 l, a column of vertebrae, lung nodules; made of ellipsoids with a rough surface.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_seg3d.editing import Change, Limits
from napari_seg3d.editing.brushes import adaptive_brush, brush, erase_brush, threshold_brush
from napari_seg3d.editing.combining import combine, cut, merge
from napari_seg3d.editing.islands import drop_small, fill_holes, keep_island, keep_largest, split_islands
from napari_seg3d.editing.margins import hollow, margin
from napari_seg3d.editing.nodules import add_nodules
from napari_seg3d.editing.polygons import fill_polygon
from napari_seg3d.editing.regions import flood_fill, grow_region, trace_level
from napari_seg3d.editing.slices import copy_slice
from napari_seg3d.editing.smoothing import smooth, smooth_jointly
from napari_seg3d.editing.splitting import split, split_by_seeds

SHAPE = (300, 512, 512)
SPACING = (1.5, 0.8, 0.8)
LIVER, LESION, SPINE, NODULE = 1, 2, 10, 40
VERTEBRAE = 20


@dataclass(frozen=True)
class Scene:
    """A CT of the trunk and its labels."""

    image: NDArray[np.int16]
    mask: NDArray[np.uint8]
    liver: tuple[int, ...]
    lesion: tuple[int, ...]
    nodule: tuple[int, ...]

    def ml(self, *labels: int) -> float:
        """Return the volume of some labels."""
        return float(np.isin(self.mask, labels).sum() * np.prod(SPACING) / 1000)


def scene() -> Scene:
    """Return a liver with lesions and a vessel, vertebrae that touch, and a nodule in the air."""
    random = np.random.default_rng(0)
    mask = np.zeros(SHAPE, np.uint8)
    rough = ndimage.zoom(random.normal(size=(38, 64, 64)).astype(np.float32), 8, order=1)[: SHAPE[0]]

    def ellipsoid(centre: tuple[int, ...], radii_mm: tuple[float, ...], roughness: float = 0.15) -> None:
        reach = [int(1.4 * mm / side) + 2 for mm, side in zip(radii_mm, SPACING, strict=True)]
        box = tuple(slice(max(c - r, 0), min(c + r, n)) for c, r, n in zip(centre, reach, SHAPE, strict=True))
        axes = np.ogrid[box]
        far = sum(((a - c) * s / r) ** 2 for a, c, s, r in zip(axes, centre, SPACING, radii_mm, strict=True))
        mask[box][far + roughness * rough[box] < 1] = value

    liver = (150, 250, 170)
    value = LIVER
    ellipsoid(liver, (62, 72, 80))
    for value in range(SPINE, SPINE + VERTEBRAE):
        ellipsoid((8 + 15 * (value - SPINE), 400, 256), (12.5, 16, 20))
    value = LESION
    ellipsoid((150, 240, 150), (14, 14, 14))
    nodule = (250, 200, 380)
    value = NODULE
    ellipsoid(nodule, (5, 6, 6), 0.05)
    hu = np.full(256, -100.0)
    hu[[LIVER, LESION, NODULE]] = 110, 60, 20
    hu[SPINE : SPINE + VERTEBRAE] = 300
    image = hu[mask]
    image[220:, 120:280, 300:460][mask[220:, 120:280, 300:460] == 0] = -850
    image = ndimage.gaussian_filter(image.astype(np.float32), 0.8)  # a voxel at an edge holds some of both sides
    image += random.normal(scale=10, size=SHAPE).astype(np.float32)
    mask[mask == NODULE] = 0
    return Scene(image.astype(np.int16), mask, liver, (150, 240, 150), nodule)


Tool = tuple[str, str, float, Callable[[], Change]]


def local_tools(scan: Scene) -> Iterator[Tool]:
    """Yield title, kind, ml of the label and the call of what follows the mouse."""
    image, mask, at = scan.image, scan.mask, scan.lesion
    row = image[150, 250]
    edge = (150, 250, next(column for column in range(200, 512) if row[column] < 30))
    line = [(150, 240 + step, 150 + 2 * step) for step in range(0, 40, 4)]
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    lasso = np.stack([250 + (110 + 10 * np.sin(9 * angle)) * np.sin(angle), 250 + 150 * np.cos(angle)], axis=1)
    ml = scan.ml(LIVER)
    yield "brush, 10 mm", "local", ml, lambda: brush(mask, line, 10, SPACING, 5)
    yield "brush, 30 mm", "local", ml, lambda: brush(mask, line, 30, SPACING, 5)
    yield (
        "threshold brush, 20 mm",
        "local",
        ml,
        lambda: threshold_brush(mask, image, line, 20, SPACING, 5, (80, 140), over_others=True),
    )
    yield "adaptive brush, 20 mm", "local", ml, lambda: adaptive_brush(mask, image, line, 20, SPACING, 5, over_others=True)
    yield "erase below, 20 mm", "local", ml, lambda: erase_brush(mask, line, 20, SPACING, LESION)
    yield "flood fill, lesion", "local", scan.ml(LESION), lambda: flood_fill(mask, at, SPACING, 5)
    yield "flood fill, vertebra", "local", scan.ml(SPINE + 9), lambda: flood_fill(mask, (143, 400, 256), SPACING, 5)
    yield "flood fill, slice of liver", "local", ml, lambda: flood_fill(mask, scan.liver, SPACING, 5, across=0)
    yield "polygon to label", "local", ml, lambda: fill_polygon(mask, lasso, 5, across=0, index=150)
    yield "polygon, sagittal", "local", ml, lambda: fill_polygon(mask, lasso * 0.5, 5, across=2, index=150)
    yield "copy to next slice, all", "local", ml, lambda: copy_slice(mask, LIVER, 0, 150, every_label=True)
    yield "copy to next slice, sagittal", "local", ml, lambda: copy_slice(mask, LIVER, 2, 150)
    yield "region growing, 30 mm", "local", ml, lambda: grow_region(mask, image, scan.liver, SPACING, 5, over_others=True)
    yield (
        "region growing, 50 mm, necks of 4 mm",
        "local",
        ml,
        lambda: grow_region(mask, image, scan.liver, SPACING, 5, radius_mm=50, neck_mm=4, over_others=True),
    )
    yield "level tracing", "local", ml, lambda: trace_level(mask, image, edge, 5, across=0, over_others=True)
    yield "nodule from its centre", "local", 0.8, lambda: add_nodules(mask, image, scan.nodule, SPACING, 5)
    yield "keep the piece that is clicked", "whole", ml, lambda: keep_island(mask, scan.liver)


def whole_tools(scan: Scene) -> Iterator[Tool]:
    """Yield the same of what works on a whole label."""
    mask = scan.mask
    ml, spine = scan.ml(LIVER), list(range(SPINE, SPINE + VERTEBRAE))
    spine_ml = scan.ml(*spine)
    together = mask.copy()
    together[np.isin(mask, spine)] = SPINE
    prediction = np.roll(mask, 3, axis=2)
    for method in ("median", "gaussian", "opening", "closing"):
        yield f"smooth, {method} of 3 mm", "whole", ml, lambda method=method: smooth(mask, LIVER, SPACING, method, 3)
    yield "smooth all labels, 2 mm", "whole", ml + spine_ml, lambda: smooth_jointly(mask, SPACING, 2)
    locked = Limits(frozenset({LESION}))
    yield "smooth all labels, one locked", "whole", ml + spine_ml, lambda: smooth_jointly(mask, SPACING, 2, locked)
    yield "keep the largest piece", "whole", ml, lambda: keep_largest(mask, LIVER)
    yield "drop pieces below 1 ml", "whole", spine_ml, lambda: drop_small(together, SPINE, SPACING, 1)
    yield "pieces to labels", "whole", spine_ml, lambda: split_islands(together, SPINE)
    yield "holes, 3D", "whole", ml, lambda: fill_holes(mask, LIVER, SPACING)
    yield "holes, slice by slice", "whole", ml, lambda: fill_holes(mask, LIVER, SPACING, across=0)
    for mm in (2, 10, 30, -2, -10, -30):
        yield f"margin of {mm} mm", "whole", ml, lambda mm=mm: margin(mask, LIVER, SPACING, mm)
    yield "hollow, 3 mm inside", "whole", ml, lambda: hollow(mask, LIVER, SPACING, 3)
    yield "hollow, 10 mm centred", "whole", ml, lambda: hollow(mask, LIVER, SPACING, 10, "centred")
    yield "union with a label of another mask", "whole", ml, lambda: combine(mask, LIVER, LIVER, "union", prediction)
    yield "subtract a label of another mask", "whole", ml, lambda: combine(mask, LIVER, LIVER, "subtract", prediction)
    yield "keep inside another label", "whole", ml, lambda: cut(mask, LESION, [LIVER], SPACING, also=spine, mm=2)
    yield "merge labels", "whole", spine_ml, lambda: merge(mask, SPINE, spine)
    yield "split in two", "whole", ml, lambda: split(mask, LIVER, SPACING)
    yield "split vertebrae that touch", "whole", spine_ml, lambda: split(together, SPINE, SPACING, VERTEBRAE)
    yield (
        "split by two seeds",
        "whole",
        spine_ml,
        lambda: split_by_seeds(together, SPINE, SPACING, [(8, 400, 256), (143, 400, 256)]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many is printed")
    parser.add_argument("--only", default="", help="only tools whose title has this word")
    options = parser.parse_args()
    scan = scene()
    print(f"{'tool':<40} {'label, ml':>10} {'voxels changed':>15} {'seconds':>8}")
    for tools in (local_tools, whole_tools):
        for title, kind, ml, call in tools(scan):
            if options.only not in title:
                continue
            best = np.inf
            for _ in range(options.repeat):
                start = time.perf_counter()
                change = call()
                best = min(best, time.perf_counter() - start)
            changed = int(np.count_nonzero(change.values != scan.mask[change.box]))
            late = " !" if best > {"local": 0.1, "whole": 5}[kind] else ""
            print(f"{title:<40} {ml:>10.1f} {changed:>15,} {best:>8.3f}{late}", flush=True)


if __name__ == "__main__":
    main()
