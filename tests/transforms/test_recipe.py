from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import ConfigError
from napari_seg3d.transforms import (
    Pipeline,
    Recipe,
    Step,
    augmentation_pipeline,
    catalogue,
    find_recipe,
    load_preset,
    load_recipe,
    parse_recipe,
    preprocessing_pipeline,
    presets,
    save_recipe,
)

_HEAD = "format: napari-seg3d transforms\nversion: 1\n"


def test_the_default_is_what_training_does_by_itself() -> None:
    recipe = load_preset("default")
    assert recipe.preprocessing == preprocessing_pipeline((1, 1, 1), "zscore")
    assert recipe.augmentation == augmentation_pipeline()


def test_the_five_systems_are_there() -> None:
    systems = {"torchio-unet3d", "spine-xray-unet2d", "nodule-unet25d", "decathlon-cascade", "decathlon-cascade-stage1", "vnet"}
    assert set(presets()) == {"default", *systems}
    assert next(iter(presets())) == "default"


@pytest.mark.parametrize("name", presets())
def test_a_preset_says_what_it_is_and_survives_export(name: str, tmp_path: Path) -> None:
    recipe = load_preset(name)
    assert recipe.name == name
    assert len(recipe.description) > 80
    save_recipe(recipe, tmp_path / "steps.yaml")
    assert load_recipe(tmp_path / "steps.yaml") == recipe
    assert find_recipe(str(tmp_path / "steps.yaml")) == find_recipe(name)
    for step in (*recipe.preprocessing.steps, *recipe.augmentation.steps):
        assert step.to_torchio().probability == step.probability


def test_presets_hold_to_the_facts_of_their_systems() -> None:
    def steps(name: str) -> dict[str, Step]:
        recipe = load_preset(name)
        return {step.name: step for step in (*recipe.preprocessing.steps, *recipe.augmentation.steps)}

    whole = steps("torchio-unet3d")
    assert whole["Resample"].values["target"] == 4
    assert whole["CropOrPad"].values["target_shape"] == [64, 64, 48]
    assert [whole[name].probability for name in ("RandomMotion", "RandomBiasField", "RandomNoise")] == [0.2, 0.3, 0.5]
    spine = steps("spine-xray-unet2d")
    assert spine["RescaleIntensity"].values["out_min_max"] == [-1, 1]
    assert spine["Resize"].values["target_shape"] == [1024, 1024, 1]
    assert spine["RandomFlip"].values == {"axes": [0, 1], "flip_probability": 0.5}
    nodule = steps("nodule-unet25d")
    assert (nodule["HUWindow"].values["level"], nodule["HUWindow"].values["width"]) == (0, 2000)
    assert nodule["ContextSlices"].values == {"neighbours": 3, "axis": 2}
    assert nodule["RandomNoise"].values["std"] == [25 / 1000, 25 / 1000]
    assert steps("decathlon-cascade")["LimitSize"].values["smallest"] == 24
    assert steps("decathlon-cascade-stage1")["LimitSize"].values["largest"] == 180


def test_what_a_person_wrote_by_hand_is_read_with_its_defaults() -> None:
    recipe = parse_recipe(
        _HEAD + "preprocessing:\n  - name: ToCanonical\n  - {name: Clamp, parameters: {out_min: 0}, enabled: false}\n"
    )
    assert [step.name for step in recipe.preprocessing.steps] == ["ToCanonical", "Clamp"]
    assert recipe.preprocessing.enabled == recipe.preprocessing.steps[:1]
    assert recipe.augmentation == Pipeline()
    assert recipe.settings()["transforms.augmentation"] == []
    assert parse_recipe(_HEAD).settings()["transforms.preprocessing"] == "auto"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no list of transforms"),
        ("steps: [", "cannot be read as YAML"),
        ("format: napari-seg3d transforms\nversion: 2\n", "version 2"),
        (_HEAD + "augmentaton: []", "augmentaton"),
        (_HEAD + "augmentation: RandomFlip", "augmentation: str"),
        (_HEAD + "augmentation: [RandomFlip]", "step 1"),
        (_HEAD + "augmentation: [{name: RandomFlip}, {name: RandomFlop}]", "augmentation, step 2.*RandomFlop"),
        (_HEAD + "augmentation: [{name: RandomFlip, parameters: {axes: [3]}}]", "step 1.*axes"),
        (_HEAD + "preprocessing: [{name: RandomFlip}]", "random"),
        (_HEAD + "preprocessing: [{name: ToCanonical, probability: 0.5}]", "random"),
        (_HEAD + "preprocessing: [{name: CropOrPad, parameters: {location: random}}]", "random"),
        (_HEAD + "preprocessing: [{name: Mask}]", "needs a mask"),
        (_HEAD + "augmentation: [{name: RemoveLabels}]", "augmentation"),
        (_HEAD + "augmentation: [{name: OneOf, parameters: {transforms: [{name: Contour}]}}]", "Contour"),
        (_HEAD + "name: &a [x]\ndescription: *a", "anchors"),
        (_HEAD + "name: !!python/object/apply:os.system [ls]", "cannot be read"),
        (_HEAD + "name: 2024-99-99", "cannot be read"),
        (_HEAD + "name: " + "[" * 20_000, "nested too deeply"),
    ],
)
def test_a_file_with_a_mistake_is_refused_with_its_name(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words) as caught:
        load_recipe(path)
    if "Move it" not in caught.value.fix:
        assert "mine.yaml" in caught.value.what


def test_what_is_no_text_or_too_much_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    (tmp_path / "large.yaml").write_text(_HEAD + "#" * (1 << 18), encoding="utf-8")
    for name, words in (("binary.yaml", "no text"), ("large.yaml", "larger"), ("missing.yaml", "missing.yaml")):
        with pytest.raises(ConfigError, match=words):
            load_recipe(tmp_path / name)
    with pytest.raises(ConfigError, match="neither a file nor a preset") as caught:
        find_recipe("vnett")
    assert caught.value.fix.startswith("Presets are vnet,")


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(catalogue())) | st.text(max_size=8),
    which=st.integers(0, 12),
    value=_PLAIN,
    probability=st.just(1.0) | _PLAIN,
)
def test_whatever_a_file_holds_it_becomes_steps_that_hold_or_an_error_in_words(
    name: str, which: int, value: object, probability: object
) -> None:
    known = [parameter.name for parameter in catalogue()[name].parameters] if name in catalogue() else []
    parameters = {(known[which % len(known)] if known else "x"): value}
    text = yaml.safe_dump([{"name": name, "parameters": parameters, "probability": probability}])
    try:
        pipeline = Pipeline.from_list(yaml.safe_load(text))
    except ConfigError:
        return
    assert Pipeline.from_list(pipeline.to_list()) == pipeline
    assert Pipeline.from_list(yaml.safe_load(Recipe(augmentation=Pipeline()).to_yaml())["augmentation"]) == Pipeline()
