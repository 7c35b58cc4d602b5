from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.errors import ConfigError
from napari_seg3d.training import TrainConfig

_BASE = TrainConfig.parse({"data": {"images": "/scans/knees"}})
_side = st.integers(8, 512)
_edge = st.floats(0.1, 20).map(lambda edge: round(edge, 3))


@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "sampling.patch_size": st.one_of(st.just("auto"), st.tuples(_side, _side, _side).map(list)),
            "preprocessing.spacing": st.one_of(st.sampled_from(["auto", "native"]), st.tuples(_edge, _edge, _edge).map(list)),
            "optimization.batch_size": st.one_of(st.just("auto"), st.integers(1, 64)),
            "optimization.minutes": st.floats(0.1, 1000).map(lambda minutes: round(minutes, 2)),
            "optimization.max_iterations": st.one_of(st.none(), st.integers(1, 10**6)),
            "sampling.mode": st.sampled_from(["patches", "whole"]),
            "data.masks": st.one_of(st.none(), st.just("/scans/masks of knees: all")),
        },
    )
)
def test_a_config_survives_its_file(changes: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> None:
    config = _BASE.with_values(changes)
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    config.save(path)
    again = TrainConfig.from_yaml(path)
    assert again == config
    assert again.to_yaml() == config.to_yaml() == path.read_text()


def test_only_the_data_has_no_default() -> None:
    with pytest.raises(ConfigError, match=r"data is missing"):
        TrainConfig.parse({})
    assert TrainConfig.parse({"data": {"images": "/scans/knees"}}) == _BASE


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimization.minutes": -1}, r"optimization\.minutes = -1"),
        ({"sampling.patch_size": [64, 64]}, r"sampling\.patch_size"),
        ({"sampling.patch_size": "huge"}, r"'huge'"),
        ({"network.features": [8, 0]}, r"network\.features"),
        ({"device.accelerator": "tpu"}, r"'tpu'"),
        ({"optimization.rate": 1}, r"no setting optimization\.rate"),
        ({"minutes": 1}, r"no setting minutes"),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        _BASE.with_values(changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("just words", "no configuration"),
        ("a: [1, 2", "cannot be read as YAML"),
        ("!!python/object/apply:os.system ['touch it-ran']", "cannot be read as YAML"),
        ("data: {images: /x}\nextra: 1\n", "no setting extra"),
    ],
)
def test_a_file_that_is_no_config_is_named(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"(?s)bad\.yaml.*{said}"):
        TrainConfig.from_yaml(path)
    assert not (tmp_path / "it-ran").exists()


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("scans", "./scans", "../" + tmp_path.name + "/scans", str(tmp_path / "other" / ".." / "scans")):
        assert TrainConfig.parse({"data": {"images": text}}).data.images == tmp_path / "scans"


def test_every_setting_is_explained() -> None:
    for section in TrainConfig.model_fields.values():
        for name, field in section.annotation.model_fields.items():  # type: ignore[union-attr]
            assert field.title, name
            assert field.description, name
            assert field.description.endswith("."), name


def test_words_that_yaml_takes_for_other_things_are_understood(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("data: {images: scans}\ndevice: {compile: on, channels_last: off, precision: 32}")
    device = TrainConfig.from_yaml(tmp_path / "run.yaml").device
    assert (device.compile, device.channels_last, device.precision) == ("on", "off", "32")
