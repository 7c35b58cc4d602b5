"""The transforms of MONAI that a bundle may ask for before the network: made by name from a list, with plain arguments, and run by MONAI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_seg3d.errors import ConfigError, ModelError
from napari_seg3d.inference.foreign.bundle_config import BundleConfig
from napari_seg3d.volumes import Volume

#: Transform -> the arguments that it takes here.
STEPS: dict[str, tuple[str, ...]] = {
    "Orientation": ("axcodes", "as_closest_canonical"),
    "Spacing": (
        "pixdim",
        "diagonal",
        "mode",
        "padding_mode",
        "align_corners",
        "scale_extent",
        "recompute_affine",
        "min_pixdim",
        "max_pixdim",
    ),
    "ScaleIntensity": ("minv", "maxv", "factor", "channel_wise"),
    "ScaleIntensityRange": ("a_min", "a_max", "b_min", "b_max", "clip"),
    "ScaleIntensityRangePercentiles": ("lower", "upper", "b_min", "b_max", "clip", "relative", "channel_wise"),
    "ClipIntensityPercentiles": ("lower", "upper", "sharpness_factor", "channel_wise"),
    "NormalizeIntensity": ("subtrahend", "divisor", "nonzero", "channel_wise"),
    "ThresholdIntensity": ("threshold", "above", "cval"),
    "CropForeground": ("channel_indices", "margin", "allow_smaller", "k_divisible", "mode"),
    "SpatialPad": ("spatial_size", "method", "mode"),
    "DivisiblePad": ("k", "method", "mode"),
}
# What is so already: a scan comes as a float32 tensor with its channels first.
_DONE = ("LoadImage", "EnsureChannelFirst", "AddChannel", "AsChannelFirst", "EnsureType", "ToTensor", "ToDevice", "CastToType")
_ABOUT_KEYS = (
    "keys",
    "allow_missing_keys",
    "meta_keys",
    "meta_key_postfix",
    "source_key",
    "start_coord_key",
    "end_coord_key",
    "ensure_same_shape",
    "lazy",
)
_DIRECTIONS = (("L", "R"), ("P", "A"), ("I", "S"))
_AXES = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
_KNOWN = f"Known are {', '.join(f'{name}d' for name in STEPS)}, and what loads a scan."


@dataclass(frozen=True)
class Step:
    """A transform of a bundle.

    Parameters
    ----------
    name : str
        Of MONAI's class for arrays.
    arguments : dict
        Plain values.
    """

    name: str
    arguments: dict[str, Any]

    @property
    def orientation(self) -> str | None:
        """To which this step turns every scan; None where it turns none."""
        if self.name == "Orientation" and not self.arguments.get("as_closest_canonical"):
            return str(self.arguments.get("axcodes"))
        return "RAS" if self.name == "Orientation" or self.arguments.get("diagonal") else None

    def made(self) -> Callable[[Any], Any]:
        """Return the transform; a ModelError says why it cannot be made."""
        from monai import transforms

        named = {"labels": _DIRECTIONS} if self.name == "Orientation" else {}
        try:
            return getattr(transforms, self.name)(**self.arguments, **named)  # type: ignore[no-any-return]
        except Exception as error:  # MONAI checks arguments with whatever comes to hand
            raise ModelError(
                f"The bundle's {self.name}d cannot be made with {self.arguments} ({_first_line(error)}).", "Check its arguments."
            ) from error


@dataclass(frozen=True)
class Preprocessing:
    """The steps of a bundle before the network.

    Parameters
    ----------
    steps : tuple of Step
        In the order in which they run.
    """

    steps: tuple[Step, ...]

    @property
    def orientation(self) -> str | None:
        """To which every scan is turned, such as ``"RAS"``; None where each stays in the order of its file."""
        return next((found for step in reversed(self.steps) if (found := step.orientation) is not None), None)

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Voxel edges along R, A and S in mm to which a scan is brought; None where they are its own, or differ from scan to scan."""
        orientation, found = None, None
        for step in self.steps:
            orientation = step.orientation or orientation
            if step.name == "Spacing":
                given = step.arguments["pixdim"]
                listed = [float(edge) for edge in (given if isinstance(given, list) else [given])]
                edges = [*listed, *[listed[-1]] * 3][:3]
                if min(edges) <= 0 or (orientation is None and len(set(edges)) > 1):
                    return None
                i, j, k = (edges[at] for at in np.argsort([_AXES[code] for code in orientation or "RAS"]))
                found = i, j, k
        return found

    def prepare(self) -> Callable[[Volume], Volume]:
        """Return what runs the steps."""
        made = [(step, step.made()) for step in self.steps]

        def prepared(volume: Volume) -> Volume:
            import torch
            from monai.data import MetaTensor

            data = torch.from_numpy(np.array(volume.data, dtype=np.float32, order="C"))
            image = MetaTensor(data, affine=torch.from_numpy(np.array(volume.affine, dtype=np.float64)))
            for step, transform in made:
                try:
                    image = transform(image)
                except Exception as error:  # whatever torch raises
                    raise ConfigError(
                        f"The model's {step.name}d cannot be applied to this scan ({_first_line(error)}).",
                        "Check the scan, or choose another model.",
                    ) from error
            processed = np.ascontiguousarray(image.as_tensor().numpy(), dtype=np.float32)
            return replace(volume, data=processed, affine=image.affine.numpy().astype(np.float64), kind="image")

        return prepared


def preprocessing_of(config: BundleConfig, places: Sequence[tuple[str, Any]]) -> Preprocessing:
    """Return the preprocessing that a bundle lists, each step with the place where it stands.

    Raises
    ------
    ModelError
        A step, or an argument of one, is not on the list.
    """
    steps = []
    image = ""
    for where, raw in places:
        target, arguments = config.component(raw, where)
        name = _array_name(target)
        keys = config.plain(arguments.get("keys", []), f"{where}#keys")
        keys = keys if isinstance(keys, list) else [keys]
        if name == "LoadImage" and not image:
            if len(keys) != 1 and keys[:1] != ["image"]:
                raise ModelError(f"{where} loads {', '.join(map(str, keys))}.", "Only bundles that load one image can be used.")
            image = str(keys[0])
        if image and image not in keys:
            continue  # about a label or a point that prediction has not
        if name in _DONE:
            _check_type(arguments, where)
            continue
        if name not in STEPS:
            raise ModelError(f"{where} asks for {target}, which is not known and was not run.", _KNOWN)
        given = _arguments(config, name, arguments, where)
        if name == "Orientation":
            _check_turn(given, where)
        steps.append(Step(name, {key: _of_image(key, value, keys, image) for key, value in given.items()}))
    return Preprocessing(tuple(steps))


def _arguments(config: BundleConfig, name: str, arguments: dict[str, Any], where: str) -> dict[str, Any]:
    found = {}
    for key, value in arguments.items():
        if key in _ABOUT_KEYS:
            continue
        if key == "dtype":
            _check_type({key: value}, where)
        elif key == "select_fn" and isinstance(value, str) and "".join(value.split()) == "$lambdax:x>0":
            continue  # what MONAI does without it
        elif key not in STEPS[name]:
            raise ModelError(f"{where}: {name}d does not take {key} here.", f"It takes {', '.join(STEPS[name])}.")
        else:
            found[key] = config.plain(value, f"{where}#{key}")
    return found


def _of_image(key: str, value: Any, keys: list[Any], image: str) -> Any:
    """Return what an argument is for the image, where there is one for each key (which only texts and flags can be)."""
    is_each = key in ("mode", "padding_mode", "align_corners") and isinstance(value, list)
    return value[keys.index(image) if image in keys else 0] if is_each else value


def _check_turn(given: dict[str, Any], where: str) -> None:
    codes = given.get("axcodes", "RAS" if given.get("as_closest_canonical") else None)
    if not isinstance(codes, str) or sorted(_AXES.get(code, -1) for code in codes) != [0, 1, 2]:
        raise ModelError(f"{where}: {codes!r} is no orientation.", "Write one letter of each pair R L, A P and S I, such as RAS.")


def _check_type(arguments: dict[str, Any], where: str) -> None:
    for key in ("dtype", "reverse_indexing"):
        value = arguments.get(key)
        if value in (None, False):
            continue
        name = str(value).lstrip("$").rsplit(".", 1)[-1]
        if key != "dtype" or name not in ("float32", "float64", "float"):
            raise ModelError(f"{where}: {key} = {value} is not known.", "Remove it: scans are float32 here.")


def _array_name(target: str) -> str:
    for ending in ("Dict", "d", "D"):
        if target.endswith(ending) and target.removesuffix(ending) in {*STEPS, *_DONE}:
            return target.removesuffix(ending)
    return target


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
