import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from napari_seg3d.errors import Cancelled
from napari_seg3d.viewer.label_census import middle, take_census

_VALUES = {
    np.uint8: st.integers(0, 4) | st.just(255),
    np.int16: st.integers(-3, 3) | st.just(-(2**15)),
    np.int64: st.sampled_from([0, 0, 1, 100_000, -7, 2**40]),
    np.uint64: st.sampled_from([0, 0, 1, 2**63 + 1]),
}


@pytest.mark.parametrize("dtype", _VALUES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_counts_and_means_are_those_of_numpy(dtype, data):
    shape = data.draw(arrays.array_shapes(min_dims=2, max_dims=4, max_side=5))
    labels = data.draw(arrays.arrays(dtype, shape, elements=_VALUES[dtype]))
    image = data.draw(arrays.arrays(np.float32, shape, elements=st.integers(-1000, 1000) | st.just(np.nan)))
    found = take_census(labels, image)
    expected = sorted(set(np.unique(labels).tolist()) - {0})
    assert list(found) == expected
    for value in expected:
        inside = image[labels == value]
        assert found[value].voxels == inside.size
        real = inside[np.isfinite(inside)].astype(float)
        assert found[value].mean == (pytest.approx(real.mean()) if real.size else None)
        planes = (labels == value).reshape(-1, *shape[-2:]).sum(axis=(1, 2))
        assert (labels[found[value].plane] == value).sum() == planes.max()
        place = middle(labels[found[value].plane], value)
        assert labels[(*found[value].plane, *place)] == value


def test_without_an_image_there_is_no_mean():
    assert take_census(np.array([[0, 1], [1, 1]]))[1].mean is None


def test_a_label_that_is_not_on_a_plane_has_no_middle():
    assert middle(np.zeros((3, 3), np.uint8), 1) is None


def test_it_stops_between_two_planes():
    asked = []

    def is_cancelled() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(Cancelled):
        take_census(np.ones((9, 2, 2), np.uint8), is_cancelled=is_cancelled)
    assert len(asked) == 3
