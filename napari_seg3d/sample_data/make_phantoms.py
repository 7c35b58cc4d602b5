"""Make the phantom data set: ``python -m napari_seg3d.sample_data.make_phantoms FOLDER``.

Each phantom is an upper abdomen as a quick MR survey shows it (contrast-enhanced, fat-suppressed, voxels of about 6 x 6 x 8 mm).
Liver and kidneys are labelled. They cannot be had by a threshold: spleen and liver are equally bright, so are vessels and
kidneys, and bowel is anything. The patient's right and left differ (liver, spleen, the lower right kidney), so that a flip shows.

The anatomy is a function of the place in the patient and is evaluated where the voxels of a scan lie. So oblique scans and
scans of another axis order are scanned that way, not resampled, and image and mask fit to a fraction of a voxel.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.sample_data import KINDS
from napari_seg3d.sample_data.description import write_description
from napari_seg3d.volumes import Grid, Volume, write_volume

Points = NDArray[np.float64]
Vector = tuple[float, float, float]

#: Values in the masks.
LABELS = {1: "liver", 2: "kidneys"}

#: How bright each tissue is; liver is 100.
_BRIGHTNESS = {
    "air": 0, "fat": 28, "muscle": 60, "lung": 7, "marrow": 46, "disc": 78, "canal": 18, "bowel": 70, "stomach": 40, "liver": 100,
    "vessel": 148, "gallbladder": 34, "spleen": 104, "kidney cortex": 152, "kidney medulla": 122, "renal sinus": 36,
}  # fmt: skip
TISSUES = {name: number for number, name in enumerate(_BRIGHTNESS)}
_LABELLED = {1: ("liver",), 2: ("kidney cortex", "kidney medulla")}

# Where in the patient the scans reach: millimetres along left-right, back-front, feet-head.
_EXTENT = np.array([330.0, 250.0, 200.0])
_DIRECTIONS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


@dataclass(frozen=True)
class Scan:
    """How one phantom is scanned.

    Parameters
    ----------
    id : str
        ``sub-<subject>_ses-<session>``; a subject has the same anatomy in each session.
    orientation : str
        Voxel order in the file, such as ``"LPS"``. The third axis is the one across the slices.
    tilt : tuple of float
        Degrees by which the scan is rotated about x, y and z. All zero: not oblique.
    spacing : tuple of float
        Voxel edges in mm.
    """

    id: str
    orientation: str
    tilt: Vector = (0, 0, 0)
    spacing: Vector = (6, 6, 8)

    @property
    def subject(self) -> int:
        """The subject's number."""
        return int(self.id[4:6])

    def grid(self) -> Grid:
        """Return the voxel grid of this scan, centred on the patient's abdomen."""
        axes = np.array([_DIRECTIONS[letter] for letter in self.orientation], dtype=np.float64).T
        shape = np.rint(np.abs(axes.T @ _EXTENT) / self.spacing).astype(int)
        affine = np.eye(4)
        affine[:3, :3] = rotation(self.tilt) @ axes * self.spacing
        affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2)
        # To a hundredth of a micrometre and half a millionth of a voxel: what float32 headers hold.
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine.astype(np.float32).astype(np.float64))


TRAINING = (
    Scan("sub-01_ses-1", "RAS"),
    Scan("sub-01_ses-2", "LPS", (0, 0, 12)),
    Scan("sub-02_ses-1", "LAS"),
    Scan("sub-02_ses-2", "LAS", (15, 0, 0), (6, 6, 9)),
    Scan("sub-03_ses-1", "LPS"),
    Scan("sub-03_ses-2", "PSR", (0, 0, 0), (6, 6, 8.5)),
    Scan("sub-04_ses-1", "LPS", (20, 10, 0)),
    Scan("sub-04_ses-2", "RAS", (0, 0, -15), (5.5, 5.5, 9)),
    Scan("sub-05_ses-1", "LSA", (0, 0, 0), (6.5, 6.5, 7)),
    Scan("sub-05_ses-2", "LPS", (0, 0, 0), (6, 6, 7.5)),
    Scan("sub-06_ses-1", "RPI"),
    Scan("sub-06_ses-2", "LPI", (-10, 0, 20)),
    Scan("sub-07_ses-1", "LPS", (0, 0, 0), (5.6, 5.6, 8.8)),
    Scan("sub-08_ses-1", "RAS", (0, 30, 0)),
    Scan("sub-09_ses-1", "PIR", (0, 0, 10), (6, 6, 8)),
    Scan("sub-10_ses-1", "LPS", (0, 0, 0), (6.4, 6.4, 7)),
    Scan("sub-11_ses-1", "RSP", (12, 0, 0), (6.5, 6.5, 7)),
    Scan("sub-12_ses-1", "LAS", (0, -18, 8)),
    Scan("sub-13_ses-1", "ASL", (0, 0, 0), (6, 6, 8)),
    Scan("sub-14_ses-1", "LPS", (-25, 0, 10), (6, 6, 7.5)),
)
TEST = (Scan("sub-15_ses-1", "LPS"), Scan("sub-16_ses-1", "PSR", (0, 0, -12)), Scan("sub-17_ses-1", "RAS", (22, 0, 15)))


def make_phantom(scan: Scan) -> tuple[Volume, Volume]:
    """Return image (int16) and mask (uint8) of one scan, the same each time."""
    grid = scan.grid()
    patient, session = np.random.default_rng([20, scan.subject]), np.random.default_rng([20, scan.subject, int(scan.id[-1])])
    anatomy = Anatomy(patient, breath=float(session.normal(0, 5)))

    # Each voxel is the mean of 2 x 2 x 2 places in it: borders are blurred as in a scan, and the mask takes the larger share.
    brightness = np.array(list(_BRIGHTNESS.values()), dtype=np.float64)
    signal, shares = np.zeros(grid.shape), {label: np.zeros(grid.shape) for label in LABELS}
    voxels = np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1).reshape(-1, 3)
    for offset in np.ndindex(2, 2, 2):
        points = grid.to_world(voxels + np.array(offset) / 2 - 0.25)
        tissue = anatomy.tissue(points)
        signal += (brightness[tissue] * anatomy.texture(points, tissue)).reshape(grid.shape) / 8
        for label, names in _LABELLED.items():
            shares[label] += np.isin(tissue, [TISSUES[name] for name in names]).reshape(grid.shape) / 8

    mask = np.zeros(grid.shape, dtype=np.uint8)
    for label, share in shares.items():
        mask[share > 0.5] = label

    signal *= np.exp(_Waves(session, wavelength=(350, 700), strength=0.12)(grid.to_world(voxels))[:, 0]).reshape(grid.shape)
    # The magnitude of a noisy complex signal, as MR has it: noise without a negative value in the air.
    noisy = np.hypot(signal + session.normal(0, 4.5, grid.shape), session.normal(0, 4.5, grid.shape))
    # Few grey levels keep the files small; the scanner's gain is arbitrary, as in MR.
    image = (np.rint(noisy / 2) * session.integers(1, 10)).astype(np.int16)
    return Volume(image[np.newaxis], grid.affine), Volume(mask[np.newaxis], grid.affine, "labels")


def make_phantoms(folder: str | Path) -> None:
    """Write the whole data set into `folder`, in the layout of the Medical Segmentation Decathlon; nothing is overwritten."""
    folder = Path(folder)
    for scan in TRAINING:
        image, mask = make_phantom(scan)
        write_volume(image, folder / "imagesTr" / f"{scan.id}.nii.gz")
        write_volume(mask, folder / "labelsTr" / f"{scan.id}.nii.gz")
    for scan in TEST:
        write_volume(make_phantom(scan)[0], folder / "imagesTs" / f"{scan.id}.nii.gz")
    write_description(
        folder,
        name="Phantoms",
        about="Upper abdomens that no patient has, made by napari_seg3d.sample_data.make_phantoms",
        modality="MR",
        labels=LABELS,
        training=[scan.id for scan in TRAINING],
        tests=[scan.id for scan in TEST],
    )


class Anatomy:
    """One patient: which tissue lies where, in RAS+ mm around the middle of the upper abdomen."""

    def __init__(self, patient: np.random.Generator, breath: float) -> None:
        self._breath = breath
        self._scale = patient.normal(1, 0.04, 3)
        self._bend = _Waves(patient, wavelength=(130, 260), strength=4.5)
        self._lumps = _Waves(patient, wavelength=(35, 60), strength=0.45)
        # Organs vary in place and size from patient to patient, each by itself.
        self._shift = {name: patient.normal(0, 4, 3) for name in _ORGANS}
        self._size = {name: patient.normal(1, 0.06, 3) for name in _ORGANS}
        self._fat = patient.uniform(8, 22)

    def tissue(self, points: Points) -> NDArray[np.uint8]:
        """Return the number of the tissue at each of `points` ``(n, 3)``."""
        skin = points / self._scale
        x, y, z = skin.T
        bent = skin + self._bend(skin) - (0, 0, self._breath)
        tissue = np.full(len(points), TISSUES["air"], dtype=np.uint8)

        def paint(name: str, where: NDArray[np.bool_]) -> None:
            tissue[where] = TISSUES[name]

        # Depth below the skin in mm, roughly, of a body that is flat in front and behind and narrows towards the hips.
        width = 1 - 0.0004 * np.abs(z - 30)
        depth = (1 - (np.abs(x / (158 * width)) ** 2.4 + np.abs(y / 106) ** 2.4) ** (1 / 2.4)) * 106
        paint("fat", depth > 0)
        paint("muscle", depth > self._fat)
        inside = depth > self._fat + 13
        paint("fat", inside)
        bx, by, bz = bent.T
        bowel = inside & (by > -20) & (bz < 20) & (self._lumps(bent)[:, 0] > -0.1)
        paint("bowel", bowel)
        for name in ("stomach", "spleen", "liver right", "liver left"):
            paint(name.split()[0], inside & self._within(name, bent))
        paint("vessel", (tissue == TISSUES["liver"]) & _near_line(bent, (18, 0, -5), (75, 20, 25), 6.5))
        paint("vessel", (tissue == TISSUES["liver"]) & _near_line(bent, (15, -10, 75), (80, -15, 35), 6.5))
        paint("gallbladder", inside & self._within("gallbladder", bent))
        # Lungs above the domes of the diaphragm, the right one higher because of the liver below it.
        dome = np.where(bx > 0, 82, 74) - ((np.abs(bx) - 70) / 75) ** 2 * 28 - ((by - 5) / 85) ** 2 * 38
        paint("lung", (depth > self._fat + 9) & (bz > dome) & (np.abs(bx) > 22))

        spine = skin - (0, -62, 0)
        paint("muscle", ((np.abs(x) - 34) / 26) ** 2 + ((y + 82) / 20) ** 2 < 1)
        paint("marrow", (spine[:, 0] / 23) ** 2 + (spine[:, 1] / 17) ** 2 < 1)
        paint("disc", ((spine[:, 0] / 23) ** 2 + (spine[:, 1] / 17) ** 2 < 1) & (np.mod(z + self._breath, 36) < 9))
        paint("marrow", (spine[:, 0] / 13) ** 2 + ((spine[:, 1] + 26) / 15) ** 2 < 1)
        paint("canal", np.hypot(x, y + 86) < 8)
        paint("vessel", np.hypot(bx + 11, by + 33) < 10.5)  # aorta
        paint("vessel", (np.hypot(bx - 17, by + 29) < 11.5) & (bz < 70))  # inferior vena cava
        for side in ("right", "left"):
            name = f"kidney {side}"
            paint("kidney cortex", inside & self._within(name, bent))
            paint("kidney medulla", self._within(name, bent, 0.62))
            towards_spine = -12 if side == "right" else 12
            paint("renal sinus", self._within(name, bent - (towards_spine, 2, 0), 0.42))
        return tissue

    def texture(self, points: Points, tissue: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return by which factor each of `points` differs from the usual brightness of its tissue."""
        factor = 1 + 0.06 * self._bend(points * 3)[:, 2] / 4.5
        bowel = tissue == TISSUES["bowel"]
        factor[bowel] = 1 + 1.2 * self._lumps(points[bowel] / 1.4)[:, 1]
        return np.maximum(factor, 0.1)

    def _within(self, organ: str, points: Points, share: float = 1.0) -> NDArray[np.bool_]:
        centre, radii = _ORGANS[organ]
        placed = (points - centre - self._shift[organ]) / (np.array(radii) * self._size[organ] * share)
        if organ == "liver right":
            # The lower face is cut off obliquely, from the right flank up to the midline.
            placed = np.where((placed[:, 2] < -0.75 + 0.75 * (0.4 - placed[:, 0]))[:, np.newaxis], 9.0, placed)
        elif organ == "liver left":
            # The left lobe runs out in a wedge towards the patient's left.
            placed[:, 1:] /= np.clip(0.75 + 0.55 * placed[:, :1], 0.2, 1.2)
        inside: NDArray[np.bool_] = np.einsum("ij,ij->i", placed, placed) < 1
        return inside


# Centre and half axes in mm; x to the patient's right.
_ORGANS: dict[str, tuple[Vector, Vector]] = {
    "stomach": ((-58, 32, 28), (42, 40, 44)),
    "spleen": ((-104, -34, 34), (27, 42, 46)),
    "liver right": ((74, 6, 14), (70, 82, 72)),
    "liver left": ((4, 52, 32), (72, 36, 34)),
    "gallbladder": ((52, 42, -34), (15, 17, 24)),
    "kidney right": ((60, -44, -34), (27, 25, 52)),
    "kidney left": ((-62, -46, -18), (28, 25, 54)),
}


class _Waves:
    """A smooth random field with three components, a sum of a few plane waves."""

    def __init__(self, random: np.random.Generator, wavelength: tuple[float, float], strength: float) -> None:
        directions = random.normal(size=(6, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self._vectors = 2 * np.pi * directions / random.uniform(*wavelength, size=(6, 1))
        self._phases = random.uniform(0, 2 * np.pi, 6)
        self._amplitudes = random.normal(0, strength / np.sqrt(3), size=(6, 3))

    def __call__(self, points: Points) -> Points:
        return np.sin(points @ self._vectors.T + self._phases) @ self._amplitudes


def _near_line(points: Points, start: Vector, end: Vector, distance: float) -> NDArray[np.bool_]:
    along = np.subtract(end, start)
    share = np.clip((points - start) @ along / (along @ along), 0, 1)
    near: NDArray[np.bool_] = np.linalg.norm(points - start - share[:, np.newaxis] * along, axis=1) < distance
    return near


def rotation(degrees: Vector) -> NDArray[np.float64]:
    """Return the rotation by so many degrees about x, y and z, one after the other."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[one, one] = step[other, other] = np.cos(angle)
        step[other, one], step[one, other] = np.sin(angle), -np.sin(angle)
        turned = step @ turned
    return turned


def main() -> None:
    """Write the phantoms into the folder named on the command line."""
    from napari_seg3d.sample_data import make

    parser = argparse.ArgumentParser(description="Make one of the phantom data sets.")
    parser.add_argument("folder", type=Path, help="where to; a new or empty folder")
    parser.add_argument("--kind", choices=KINDS, default="abdomen", help="which of them")
    arguments = parser.parse_args()
    make(arguments.kind, arguments.folder)


if __name__ == "__main__":
    main()
