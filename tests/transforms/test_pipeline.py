import pytest

from napari_seg3d.errors import ConfigError
from napari_seg3d.transforms import Pipeline, Step, augmentation_pipeline, preprocessing_pipeline


@pytest.mark.parametrize("pipeline", [augmentation_pipeline(), preprocessing_pipeline((1, 1, 2.5), "zscore"), Pipeline()])
def test_a_pipeline_survives_being_stored(pipeline: Pipeline) -> None:
    assert Pipeline.from_list(pipeline.to_list()) == pipeline


@pytest.mark.parametrize("name", ["Lambda", "MonaiAdapter", "ToReferenceSpace", "__class__", "os"])
def test_a_stored_pipeline_reaches_no_other_code(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Pipeline.from_list([{"name": name, "parameters": {}}])


def test_wrong_parameters_are_named() -> None:
    with pytest.raises(ConfigError, match="RandomNoise.*colour"):
        Step("RandomNoise", {"colour": "pink"})


@pytest.mark.parametrize("value", ["ToCanonical", {"parameters": {}}, {"name": "ToCanonical", "when": "always"}])
def test_what_is_no_step_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="no step"):
        Pipeline.from_list([value])  # type: ignore[list-item]
