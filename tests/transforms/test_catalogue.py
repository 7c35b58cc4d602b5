import inspect
import sys
from subprocess import run as run_process

import numpy as np
import pytest
import torchio

from napari_seg3d.errors import ConfigError
from napari_seg3d.transforms import Parameter, Pipeline, Step, catalogue, info

# Kept out of the catalogue; its docstring says why.
_LEFT_OUT = {
    *(
        "Transform",
        "IntensityTransform",
        "LabelTransform",
        "SpatialTransform",
        "Compose",
        "Lambda",
        "MonaiAdapter",
        "To",
        "PCA",
        "OneHot",
    ),
    *("CopyAffine", "ToReferenceSpace", "LabelsToImage"),
    *("ElasticDeformation", "AffineElasticDeformation", "BiasField", "Motion", "Spike", "Swap"),
}
_PARAMETERS_LEFT_OUT = {
    *(
        "default_pad_label",
        "check_shape",
        "scalars_only",
        "pre_affine_name",
        "mask_name",
        "label_key",
        "image_key",
        "mean",
        "std",
    ),
    *(
        "discretize",
        "masking_method",
        "labels",
        "image_interpolation",
        "affine_kwargs",
        "elastic_kwargs",
        "transforms",
        "copy",
        "kwargs",
    ),
}
# Ours where torchio's would be wrong or nothing at all: padding a CT with 0 is water, not air.
_OTHER_DEFAULTS = {("CropOrPad", "padding_mode"), ("Pad", "padding_mode"), ("RandomFlip", "axes"), ("CropOrPad", "target_shape")}


def _torchio() -> dict[str, type]:
    kinds = {name: getattr(torchio, name) for name in dir(torchio)}
    return {name: kind for name, kind in kinds.items() if inspect.isclass(kind) and issubclass(kind, torchio.Transform)}


def test_every_transform_of_torchio_is_here_or_left_out_on_purpose() -> None:
    own = {name for name, transform in catalogue().items() if transform.is_own}
    assert set(catalogue()) - own == set(_torchio()) - _LEFT_OUT
    assert own == {"HUWindow", "ContextSlices", "LimitSize"}


@pytest.mark.parametrize("name", [name for name, transform in catalogue().items() if not transform.is_own])
def test_parameters_and_defaults_are_those_of_torchio(name: str) -> None:
    theirs = dict(inspect.signature(_torchio()[name].__init__).parameters)
    if name in ("KeepLargestComponent", "Contour", "Transpose", "ToCanonical"):
        theirs = {}  # they take what every transform takes
    if name == "RandomAffineElasticDeformation":
        for kind in (torchio.RandomAffine, torchio.RandomElasticDeformation):
            theirs |= inspect.signature(kind.__init__).parameters
    theirs.pop("self", None)
    ours = {parameter.name: parameter for parameter in info(name).parameters}
    assert set(ours) - set(theirs) <= {"weights"}
    assert set(theirs) - set(ours) <= _PARAMETERS_LEFT_OUT
    for known, parameter in ours.items():
        theirs_default = theirs[known].default if known in theirs else inspect.Parameter.empty
        if theirs_default is not inspect.Parameter.empty and (name, known) not in _OTHER_DEFAULTS:
            default = tuple(parameter.default) if isinstance(parameter.default, list) else parameter.default
            assert default == theirs_default, known


@pytest.mark.parametrize("name", catalogue())
def test_a_form_finds_words_and_a_value_for_everything(name: str) -> None:
    transform = info(name)
    assert transform.summary.endswith(".")
    assert Step(name, transform.defaults()).values == Step(name).values
    assert len({parameter.name for parameter in transform.parameters}) == len(transform.parameters)
    for parameter in transform.parameters:
        assert parameter.help
        assert parameter.allowed
        if parameter.kind == "choice":
            assert parameter.default in parameter.choices or parameter.default is None
        if parameter.kind != "steps":
            assert parameter.parse(parameter.show(parameter.default)) == parameter.default


@pytest.mark.parametrize(("name", "parameter"), [(name, each) for name in catalogue() for each in info(name).parameters])
def test_what_lies_outside_the_limits_is_refused_with_the_limits(name: str, parameter: Parameter) -> None:
    wrong: list[object] = [float("nan"), float("inf"), object(), {"a": "b"}, "no such choice"]
    wrong += [limit + sign for limit, sign in ((parameter.minimum, -1), (parameter.maximum, 1)) if limit is not None]
    wrong += [[limit, limit] for limit in wrong if isinstance(limit, (int, float))]
    for value in wrong:
        with pytest.raises(ConfigError) as caught:
            Step(name, {parameter.name: value})
        assert parameter.name in caught.value.what
        if parameter.minimum is not None and parameter.maximum is not None and parameter.kind != "mapping":
            assert f"{parameter.minimum:g} to {parameter.maximum:g}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("RandomBlurr", {}, r"RandomBlurr.*\n.*are RandomBlur,"),
        ("randomaffine", {}, r"Known ones are RandomAffine,"),
        ("RandomAffine", {"degree": 10}, r"degree'.*\n.*degrees"),
        ("RandomAffine", {"degrees": [20, 10]}, "low is above high"),
        ("RandomAffine", {"scales": 1.5}, r"-0.5 to 2.5"),
        ("RandomAffine", {"scales": [0.1, 0.2, 0.3], "isotropic": True}, "isotropic"),
        ("RandomAffine", {"degrees": [1, 2, 3, 4]}, "4 numbers"),
        ("RandomFlip", {"axes": [0.5]}, "not whole"),
        ("RandomFlip", {"axes": [True]}, "True"),
        ("CropOrPad", {"target_shape": 10.5}, "voxels"),
        ("CropOrPad", {"only_crop": True, "only_pad": True}, "exclude"),
        ("RandomElasticDeformation", {"num_control_points": [4, 7, 7]}, "nothing to move"),
        ("Clamp", {"out_min": 2, "out_max": 1}, "not below"),
        ("RescaleIntensity", {"percentiles": [99, 1]}, "low is above high"),
        ("HistogramStandardization", {"landmarks": [1, 2, 3]}, "13"),
        ("HistogramStandardization", {"landmarks": list(range(13))[::-1]}, "rise"),
        ("OneOf", {"transforms": []}, "at least one"),
        ("OneOf", {"transforms": [{"name": "RandomFlip"}], "weights": [1, 2]}, "weights"),
    ],
)
def test_a_mistake_is_said_with_what_is_valid(name: str, parameters: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Step(name, parameters)


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan"), "often", True, None])
def test_a_probability_lies_between_0_and_1(probability: object) -> None:
    with pytest.raises(ConfigError, match="0 to 1"):
        Step("RandomFlip", probability=probability)  # type: ignore[arg-type]


def test_nothing_hides_inside_a_step() -> None:
    for hidden in (
        {"name": "Lambda"},
        {"name": "RandomBlur", "parameters": {"std": "/etc/passwd"}},
        {"name": "RandomBlur", "run": "x"},
        "x",
    ):
        nested = [{"name": "OneOf", "parameters": {"transforms": [{"name": "RandomFlip"}, hidden]}}]
        with pytest.raises(ConfigError):
            Pipeline.from_list([{"name": "OneOf", "parameters": {"transforms": nested}}])


def test_steps_nested_without_end_are_refused() -> None:
    nested: list[dict[str, object]] = [{"name": "RandomFlip"}]
    for _ in range(3000):
        nested = [{"name": "OneOf", "parameters": {"transforms": nested}}]
    with pytest.raises(ConfigError, match="nested"):
        Pipeline.from_list(nested)
    with pytest.raises(ConfigError, match="201"):
        Pipeline.from_list([{"name": "RandomFlip"}] * 201)


def test_numbers_typed_by_a_person_are_understood() -> None:
    assert info("RandomAffine").parameter("degrees").parse("[5, 10]") == [5, 10]
    assert info("RemapLabels").parameter("remapping").parse("7: 1, 8:2") == {7: 1, 8: 2}
    assert info("Pad").parameter("padding_mode").parse("-1000") == -1000
    assert info("Pad").parameter("padding_mode").parse("edge") == "edge"
    assert info("Clamp").parameter("out_min").parse("  ") is None
    with pytest.raises(ValueError, match="whole"):
        info("Crop").parameter("cropping").parse("1.5")


def test_what_was_stored_before_can_be_read() -> None:
    stored = [{"name": "RandomAffine", "parameters": {"scales": 0.2, "isotropic": False}, "probability": 0.6}]
    (step,) = Pipeline.from_list(stored).steps
    assert step.enabled
    assert Pipeline.from_list(stored).to_list() == stored
    assert np.isclose(step.to_torchio().probability, 0.6)


def test_the_catalogue_and_its_checks_wait_for_no_torch() -> None:
    code = (
        "import sys; from napari_seg3d.transforms import *; [Step(name) for name in catalogue()]; load_preset('vnet');"
        "sys.exit(any(name in sys.modules for name in ('torch', 'torchio', 'SimpleITK')))"
    )
    assert run_process([sys.executable, "-c", code], check=False).returncode == 0
