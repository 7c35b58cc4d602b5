"""Level tracing follows the place that was clicked, and not only its pixel: edges lie between pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours

from napari_seg3d.editing.regions import trace_level
from napari_seg3d.volumes import read_volume
from tests.editing.blobs import after


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def traced(image: np.ndarray, place: tuple[float, float]) -> np.ndarray:
    mask = np.zeros(image.shape, np.uint8)
    return np.asarray(after(mask, trace_level(mask, image, place, 1))) == 1


def test_each_click_on_the_edge_of_a_dark_disc_in_a_bright_ring_takes_the_disc():
    away = np.hypot(*(np.indices((60, 60)) - 29.5))
    image = np.where(away < 9, 300.0, np.where(away < 11, 900.0, 100.0))
    image = ndimage.gaussian_filter(image, 0.6) + np.random.default_rng(0).normal(0, 20, image.shape)
    for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
        place = (29.5 + 9 * np.sin(angle), 29.5 + 9 * np.cos(angle))
        assert dice(traced(image, place), away < 9) > 0.9, angle


def test_between_equal_pixels_it_is_their_region():
    image = np.zeros((20, 20))
    image[5:10, 5:10] = 0.1
    assert dice(traced(image, (7.4, 6.3)), image > 0) == 1
    assert dice(traced(image, (4.6, 7.0)), image > 0) == 1, "nearer to the object than to what is around it"


def test_most_clicks_on_the_edge_of_a_spinal_cord_take_it(shared_data: Path):
    image, cord = (
        read_volume(shared_data / "spinalcord" / name, kind).data[0]
        for name, kind in (("t2.nii.gz", "image"), ("t2_seg-manual.nii.gz", "labels"))
    )
    found = []
    for at in range(0, cord.shape[1], 3):
        if (cord[:, at] > 0).sum() > 20:
            line = max(find_contours(np.pad(cord[:, at] > 0, 1).astype(float), 0.5), key=len) - 1
            inside = line[(line > 0).all(axis=1) & (line < np.array(cord[:, at].shape) - 1).all(axis=1)]
            found += [dice(traced(image[:, at], tuple(place)), cord[:, at] > 0) for place in inside[:: max(len(inside) // 12, 1)]]
    assert len(found) > 100
    assert np.median(found) > 0.9
