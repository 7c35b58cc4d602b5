"""`PredictOptions`: how a scan is predicted. The defaults are right nearly always."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from napari_seg3d.errors import ConfigError
from napari_seg3d.inference.windows import Blending
from napari_seg3d.volumes import Box

Mode = Literal["auto", "patches", "whole"]
#: An axis of the patient: right, anterior, superior.
PatientAxis = Literal["R", "A", "S"]
PATIENT_AXES: tuple[PatientAxis, ...] = get_args(PatientAxis)


@dataclass(frozen=True)
class PredictOptions:
    """How a scan is predicted.

    Parameters
    ----------
    mode : {"auto", "patches", "whole"}
        How the network sees it: in pieces or as a whole (slice by slice, for a 2D network). auto: as the model was trained.
    overlap : float
        Share of a piece that the next one sees again, 0 to 0.9. More is smoother and slower.
    blending : {"gaussian", "hann", "average", "crop"}
        How answers are weighted where pieces overlap, as in `Tiling`.
    flips : tuple of {"R", "A", "S"}
        Axes of the patient along which the network also sees each piece mirrored; the probabilities of all 2, 4 or 8 are averaged.
        Mirroring along R takes a left organ for a right one where the labels tell them apart.
    probabilities : bool
        Whether to return those of each class or label: as many float32 volumes as there are.
    uncertainty : bool
        Whether to return how uncertain the model is.
    region : Box, optional
        The voxels of the scan to predict; the rest is background. The scan is prepared as a whole, and the network also sees what lies half
        a piece around the region, so that the answer inside is nearly that of the whole scan.
    postprocess : bool
        Whether the rules that were chosen for the model are applied to its masks.

    Raises
    ------
    ConfigError
        A value is none of these.
    """

    mode: Mode = "auto"
    overlap: float = 0.5
    blending: Blending = "gaussian"
    flips: tuple[PatientAxis, ...] = ()
    probabilities: bool = False
    uncertainty: bool = False
    region: Box | None = None
    postprocess: bool = True

    def __post_init__(self) -> None:
        _check_one("mode", self.mode, get_args(Mode))
        _check_one("blending", self.blending, get_args(Blending))
        for axis in self.flips:
            _check_one("axis to mirror along", axis, PATIENT_AXES)
        if not 0 <= self.overlap <= 0.9:
            raise ConfigError(f"The overlap is {self.overlap}.", "Choose a share from 0 to 0.9.")


def _check_one(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"There is no {what} {value!r}.", f"Choose {', '.join(choices[:-1])} or {choices[-1]}.")
