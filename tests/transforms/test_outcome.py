import numpy as np
import pytest

from napari_seg3d.transforms import Pipeline, Step, catalogue, channels_after, grid_after, label_steps, labels_after, run
from tests.transforms.phantoms import phantom, telling_step

IMAGE, MASK = phantom()
_FIXED = [name for name, transform in catalogue().items() if not transform.needs_mask]


@pytest.mark.parametrize("name", _FIXED)
def test_the_grid_is_known_before_a_scan_is_touched(name: str) -> None:
    pipeline = Pipeline((telling_step(name), Step("Crop", {"cropping": 1})))
    image, _ = run(pipeline, IMAGE, MASK, seed=0)
    expected = grid_after(pipeline, IMAGE.grid)
    assert expected.shape == image.grid.shape
    assert np.allclose(expected.affine, image.affine, atol=1e-4)
    assert channels_after(pipeline, 1) == image.data.shape[0]


@pytest.mark.parametrize(
    "step",
    [
        Step("CropOrPad", {"target_shape": [55, 40, 60], "units": "mm"}),
        Step("CropOrPad", {"target_shape": 43, "only_crop": True}),
        Step("CropOrPad", {"target_shape": 43, "only_pad": True}),
        Step("EnsureShapeMultiple", {"target_multiple": [7, 9, 100], "method": "crop"}),
        Step("Pad", {"padding": [1, 2, 3]}),
        Step("Resample", {"target": [1.002, 1.25, 1.5]}),
        Step("ToOrientation", {"orientation": "LPI"}),
    ],
)
def test_every_way_to_ask_for_a_size_is_reckoned_right(step: Step) -> None:
    image, _ = run(Pipeline((step,)), IMAGE)
    assert grid_after(Pipeline((step,)), IMAGE.grid).matches(image.grid)


def test_labels_are_known_before_a_mask_is_touched() -> None:
    labels = {1: "liver", 2: "tumour", 7: "vessel"}
    merged = Step("RemapLabels", {"remapping": {2: 1, 7: 4}})
    assert labels_after(Pipeline((merged,)), labels) == {1: "liver", 4: "vessel"}
    assert labels_after(Pipeline((Step("RemoveLabels", {"labels": [2]}),)), labels) == {1: "liver", 7: "vessel"}
    assert labels_after(Pipeline((Step("SequentialLabels"),)), labels) == {1: "liver", 2: "tumour", 3: "vessel"}
    assert labels_after(Pipeline((Step("RemapLabels", {"remapping": {1: 2, 2: 1}}),)), {1: "a", 2: "b"}) == {1: "b", 2: "a"}
    assert label_steps(Pipeline((Step("ToCanonical"), merged))).steps == (merged,)
