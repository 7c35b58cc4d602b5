"""What tools see of a mask layer."""

import numpy as np
import pytest
from napari.layers import Labels

from napari_seg3d.viewer.mask_part import MaskPart


@pytest.mark.parametrize(
    ("voxels", "words"), [(3, "0.003 ml"), (1026, "1.03 ml"), (999_700, "1\u202f000 ml"), (1_234_567, "1\u202f235 ml")]
)
def test_a_volume_is_told_as_a_person_writes_it(voxels, words):
    part = MaskPart(Labels(np.zeros((4, 4, 4), np.uint8)), None)
    assert part.size_of(voxels).replace("\u00a0", " ") == words


def test_a_mask_of_one_slice_has_an_area():
    part = MaskPart(Labels(np.zeros((1, 4, 4), np.uint8), scale=(5, 2, 2)), None)
    assert part.size_of(100) == "4\u00a0cm²"
