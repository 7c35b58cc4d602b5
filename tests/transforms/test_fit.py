from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torchio

from napari_seg3d.errors import Cancelled, ConfigError
from napari_seg3d.transforms import Pipeline, Step, fit, is_fitted, run
from napari_seg3d.volumes import Volume

_STEPS = Pipeline((Step("ToCanonical"), Step("HistogramStandardization"), Step("ZNormalization")))


def _scans() -> list[Volume]:
    random = np.random.default_rng(0)
    gains = (0.5, 1.0, 3.0, 40.0)
    return [Volume((gain * random.gamma(2, 10, (1, 12, 14, 10)) + gain).astype(np.float32), np.eye(4)) for gain in gains]


def test_the_landmarks_are_those_of_torchio(tmp_path: Path) -> None:
    scans = _scans()
    paths = []
    for number, scan in enumerate(scans):
        paths.append(tmp_path / f"{number}.nii.gz")
        nib.save(nib.Nifti1Image(scan.data[0], scan.affine), paths[-1])
    theirs = torchio.HistogramStandardization.train(paths, progress=False)
    fitted = fit(_STEPS, scans)
    assert np.allclose(fitted.steps[1].values["landmarks"], theirs, atol=1e-4)
    assert is_fitted(fitted)
    assert not is_fitted(_STEPS)
    assert Pipeline.from_list(fitted.to_list()) == fitted


def test_histograms_agree_afterwards() -> None:
    fitted = Pipeline(fit(_STEPS, _scans()).steps[:2])
    quartiles = np.array([np.percentile(run(fitted, scan)[0].data, (25, 50, 75)) for scan in _scans()])
    assert (quartiles.std(axis=0) < 0.5).all()
    assert (np.array([np.percentile(scan.data, 50) for scan in _scans()]).std()) > 100


def test_one_scan_is_held_at_a_time() -> None:
    held = 0

    def one_by_one() -> Iterator[Volume]:
        nonlocal held
        for scan in _scans():
            held += 1
            yield scan

    fit(_STEPS, one_by_one())
    assert held == 4
    fitted = fit(_STEPS, _scans())
    assert fit(fitted, iter(())) == fitted  # nothing to learn: not even asked


def test_what_cannot_be_learnt_is_said() -> None:
    with pytest.raises(ConfigError, match="no scans"):
        fit(_STEPS, [])
    with pytest.raises(ConfigError, match="2 steps"):
        fit(Pipeline((*_STEPS.steps, *_STEPS.steps)), _scans())
    with pytest.raises(Cancelled):
        fit(_STEPS, _scans(), cancelled=lambda: True)
    with pytest.raises(ConfigError, match="no landmarks"):
        run(_STEPS, _scans()[0])
