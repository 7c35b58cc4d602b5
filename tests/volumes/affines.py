"""The 48 ways in which the axes of a scan can lie in the patient, straight and oblique."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

SPACING = (0.8, 1.5, 4.0)
ORDERS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]
Order = tuple[tuple[int, ...], tuple[int, ...]]


def rotation(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    x, y, z = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def affine_of(order: Order = ((0, 1, 2), (1, 1, 1)), degrees: tuple[float, float, float] = (0, 0, 0)) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for voxel_axis, (patient_axis, sign) in enumerate(zip(*order, strict=True)):
        affine[patient_axis, voxel_axis] = sign * SPACING[voxel_axis]
    affine[:3, :3] = rotation(degrees) @ affine[:3, :3]
    affine[:3, 3] = (12.5, -40.25, 7.75)
    return affine
