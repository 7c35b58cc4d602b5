"""Every transform by name: what it does, and what it may be told.

This is our own table, so that a form, a check or the help of the command line need not wait for torchio; a test compares it with
torchio's signatures. torchio's transforms that are not in it, and why:

- ``Lambda``, ``MonaiAdapter``: run any code. ``Compose``: a pipeline is one. ``To``: number types are the program's affair.
- ``CopyAffine``, ``ToReferenceSpace``: need another image, and would part the mask from its scan.
- ``ElasticDeformation``, ``AffineElasticDeformation``, ``BiasField``, ``Motion``, ``Spike``, ``Swap``, ``LabelsToImage``: replays of the
  random ones from the numbers that those drew; a seed does the same.
- ``OneHot``: would turn a mask into what training makes of it anyway. ``PCA``: turns features into colours, and needs scikit-learn.

Parameters that are left out: names of images in a subject and files (``mask_name``, ``pre_affine_name``, ``label_key``), because there
are one image and one mask, and a file could be any; ``default_pad_label``, because outside is background; ``scalars_only`` and
``check_shape``, because image and mask lie on one grid.
"""

from __future__ import annotations

from functools import cache

from napari_seg3d.errors import ConfigError
from napari_seg3d.transforms.parameter import TransformInfo, closest_first
from napari_seg3d.transforms.tables.intensity import INTENSITY
from napari_seg3d.transforms.tables.labels import LABELS
from napari_seg3d.transforms.tables.spatial import SPATIAL


@cache
def catalogue() -> dict[str, TransformInfo]:
    """Return name -> transform, in the order to show them: spatial, intensity, label."""
    return {transform.name: transform for transform in (*SPATIAL, *INTENSITY, *LABELS)}


def info(name: str) -> TransformInfo:
    """Return the transform of this name.

    Raises
    ------
    ConfigError
        There is none; the known ones are listed, the closest first.
    """
    known = catalogue()
    if name not in known:
        raise ConfigError(f"There is no transform {name!r}.", f"Known ones are {', '.join(closest_first(name, list(known)))}.")
    return known[name]
