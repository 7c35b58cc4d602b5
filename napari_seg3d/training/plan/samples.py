"""What a sample is: slices or volumes, along which planes, with which neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ConfigError
from napari_seg3d.networks import network_info
from napari_seg3d.networks.planes import AXIS, PLANE_OF, Plane
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.plan.plan import Reason
from napari_seg3d.transforms import Pipeline, grid_after
from napari_seg3d.volumes import Grid

_ALONG = ({"R", "L"}, {"A", "P"}, {"S", "I"})


@dataclass(frozen=True)
class Samples:
    """What a sample is.

    Parameters
    ----------
    dims : {2, 3}
        Slices or volumes.
    planes : tuple of str
        Along which slices are cut.
    context : int
        Neighbouring slices on each side.
    pipeline : Pipeline
        The preprocessing; without its last step where that joined neighbouring slices, which is done while sampling instead.
    grids : tuple of Grid
        What the preprocessing makes of the training cases.
    reasons : tuple of Reason
        Why.
    """

    dims: Literal[2, 3]
    planes: tuple[Plane, ...]
    context: int
    pipeline: Pipeline
    grids: tuple[Grid, ...]
    reasons: tuple[Reason, ...]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Median voxel edges of the volumes in mm."""
        i, j, k = np.median([grid.spacing for grid in self.grids], axis=0).tolist()
        return i, j, k

    def sides(self) -> NDArray[np.float64]:
        """Return the size of what samples are cut from, for each case ``(n, 3)``; of slices the third side is 1."""
        shapes = np.array([grid.shape for grid in self.grids], dtype=float)
        if self.dims == 3:
            return shapes
        # One network sees the slices of all planes: the largest of each side holds them.
        cut = [np.delete(shapes, AXIS[plane], axis=1) for plane in self.planes]
        return np.column_stack([np.max(cut, axis=0), np.ones(len(shapes))])

    def edges(self) -> tuple[float, float, float]:
        """Return the median voxel edges along the sides of a sample in mm."""
        if self.dims == 3:
            return self.spacing
        a, b = np.mean([np.delete(self.spacing, AXIS[plane]) for plane in self.planes], axis=0).tolist()
        return a, b, 1.0


def plan_samples(config: TrainConfig, pipeline: Pipeline, grids: Sequence[Grid], painted: Plane = "axial") -> Samples:
    """Return what a sample is.

    Parameters
    ----------
    config : TrainConfig
        What was asked for.
    pipeline : Pipeline
        The preprocessing.
    grids : sequence of Grid
        Native grids of the training cases.
    painted : {"axial", "coronal", "sagittal"}
        The plane that was painted in, where masks are painted in part.

    Raises
    ------
    ConfigError
        The scans differ in their axis order after the preprocessing, or the network and the preprocessing cannot be meant together.
    """
    wish = config.sampling
    dims, reasons = _dimensions(config, grids)
    context, planes = (wish.context, wish.planes) if dims == 2 else (0, wish.planes)
    if dims == 2 and config.targets.known == "slices" and planes == ("axial",):
        planes = (config.targets.plane if config.targets.plane != "auto" else painted,)
        if planes != wish.planes:
            reasons.append(Reason("sampling.planes", list(planes), "The slices that are painted."))
    if dims == 2 and pipeline.enabled and pipeline.enabled[-1].name == "ContextSlices":
        last = pipeline.enabled[-1]
        context, planes = int(last.values["neighbours"]), (PLANE_OF[int(last.values["axis"])],)
        pipeline = replace(pipeline, steps=tuple(step for step in pipeline.steps if step is not last))
        if (context, planes) != (wish.context, wish.planes):
            why = "The preprocessing ends in joining them; that is done when slices are drawn, so that the disk holds each slice once."
            reasons.append(Reason("sampling.context", context, why))
    elif dims == 3 and wish.context:
        raise ConfigError(
            f"{wish.context} context slices on each side were asked for, and a 3D network.",
            "Set Dimensions to 2, or Context slices to 0.",
        )
    processed = tuple(grid_after(pipeline, grid) for grid in grids)
    orders = sorted({grid.orientation for grid in processed})
    if len(orders) > 1:
        raise ConfigError(
            f"After the preprocessing the scans still have different axis orders ({', '.join(orders)}).",
            "Begin the preprocessing with ToCanonical.",
        )
    if dims == 2:
        if any(letter not in along for letter, along in zip(orders[0], _ALONG, strict=True)):
            raise ConfigError(
                f"After the preprocessing the scans lie as {orders[0]}: their planes would be taken for others.",
                "Begin the preprocessing with ToCanonical.",
            )
        flat = {int(np.argmin(grid.shape)) for grid in processed if 1 in grid.shape}
        if len(flat) == 1 and all(1 in grid.shape for grid in processed) and planes != (PLANE_OF[min(flat)],):
            planes = (PLANE_OF[flat.pop()],)
            reasons.append(Reason("sampling.planes", list(planes), "Each scan is one slice, of this plane."))
    return Samples(dims, planes, context, pipeline, processed, tuple(reasons))


def _dimensions(config: TrainConfig, grids: Sequence[Grid]) -> tuple[Literal[2, 3], list[Reason]]:
    wish, able = config.network.dims, network_info(config.network.name).dims
    if wish != "auto":
        return wish, []
    if len(able) == 1:
        dims, why = able[0], f"{config.network.name} takes nothing else."
    elif all(min(grid.shape) == 1 for grid in grids):
        dims, why = 2, "Each scan is one slice."
    elif config.sampling.context or len(config.sampling.planes) > 1:
        dims, why = 2, "Context slices or several planes were asked for, which only 2D networks have."
    elif config.targets.known == "slices" and (config.sampling.patch_size == "auto" or config.sampling.patch_size[2] == 1):
        # Measured (docs/measured.md): a 3D network fills slices that are far from all painted ones.
        dims, why = (
            2,
            "Only some slices are painted: a network for slices learns all that it meets later, one for volumes does not.",
        )
    else:
        dims, why = 3, "The scans are volumes: a 3D network sees what lies above and below."
    chosen: Literal[2, 3] = 2 if dims == 2 else 3
    return chosen, [Reason("network.dims", chosen, why)]
