"""The commonest random changes, computed by torch where the sample lies: on a GPU, or on one core several times sooner than by ITK.

Whatever is drawn is drawn as torchio draws it, number by number, so that a sample looks like its preview. Interpolated values differ in the
last digits, and a label now and then where a voxel lies exactly between two. The noise on a GPU is another one of the same strength.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.transforms.pipeline import Pipeline, Step

if TYPE_CHECKING:
    import torch

    Pair = tuple[torch.Tensor, torch.Tensor]

_TRUNCATE = 4.0  # standard deviations up to which torchio computes a Gaussian


def is_known(pipeline: Pipeline) -> bool:
    """Return whether every step can be computed here."""
    return all(_is_known(step) for step in pipeline.enabled)


def _is_known(step: Step) -> bool:
    values = step.values
    if step.name == "RandomAffine":
        plain = (values["center"], values["image_interpolation"], values["label_interpolation"]) == ("image", "linear", "nearest")
        return plain and values["default_pad_value"] not in ("mean", "otsu")
    if step.name == "RandomMotion":
        return bool(values["image_interpolation"] == "linear")
    if step.name == "ZNormalization":
        return values["masking_method"] is None
    return step.name in _APPLY


@dataclass(frozen=True)
class _Sample:
    """One sample on its way.

    Parameters
    ----------
    image : tensor of shape (C, I, J, K)
    target : tensor of shape (T, I, J, K)
        uint8.
    spacing : three floats
        Voxel edges in mm.
    outside : int
        What the target is where the sample has moved away.
    """

    image: torch.Tensor
    target: torch.Tensor
    spacing: tuple[float, float, float]
    outside: int


class TorchSteps:
    """A pipeline that `is_known`, ready to run.

    Parameters
    ----------
    pipeline : Pipeline
        Random steps.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        # torchio's own transforms know the ranges; they are not run.
        self._steps = [(number, step.name, step.to_torchio()) for number, step in enumerate(pipeline.steps) if step.enabled]

    def __call__(
        self, image: torch.Tensor, target: torch.Tensor, spacing: tuple[float, float, float], seed: int, outside: int
    ) -> Pair:
        """Return a changed sample.

        Parameters
        ----------
        image : tensor of shape (C, I, J, K)
            float32, on any device.
        target : tensor of shape (T, I, J, K)
            uint8, on the same.
        spacing : three floats
            Voxel edges in mm.
        seed : int
            As for `run`.
        outside : int
            What the target is where the sample has moved away.
        """
        import torch

        random = torch.Generator()
        for number, name, transform in self._steps:
            random.manual_seed(int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]))
            if torch.rand(1, generator=random).item() <= transform.probability:
                image, target = _APPLY[name](transform, _Sample(image, target, spacing, outside), random)
        return image, target


def _affine(transform: Any, sample: _Sample, random: torch.Generator) -> Pair:
    import torch

    scales, degrees, translation = (
        _drawn(ranges, random) for ranges in (transform.scales, transform.degrees, transform.translation)
    )
    if transform.isotropic:
        scales[:] = scales[0]
    if sample.image.shape[3] == 1:
        scales[2], degrees[:2] = 1.0, 0.0
    edges = np.array(sample.spacing)
    # From a place in the result to one in the sample, in voxels from the middle.
    back = np.linalg.inv(_rotation(degrees))
    matrix, shift = back @ np.diag(edges / scales) / edges[:, np.newaxis], -back @ translation / edges
    asked, channels = transform.default_pad_value, sample.image
    lowest = channels.amin(dim=(1, 2, 3), keepdim=True)
    fill = lowest if asked == "minimum" else torch.full_like(lowest, float(asked))
    # ITK knows each next place from the last one, and needs half the time of torch on a core.
    move = _moved_by_itk if channels.device.type == "cpu" else _moved_by_torch
    return move(sample, matrix, shift, fill)


def _moved_by_itk(sample: _Sample, matrix: NDArray[np.float64], shift: NDArray[np.float64], fill: torch.Tensor) -> Pair:
    import SimpleITK as sitk
    import torch

    # ITK goes along the last axis of an array, its first; that of one voxel of a slice would be a short way.
    order = [2, 0, 1] if sample.image.shape[3] == 1 else [0, 1, 2]
    along = order[::-1]
    moved = sitk.AffineTransform(3)
    moved.SetMatrix(matrix[np.ix_(along, along)].ravel())
    moved.SetTranslation(shift[along].tolist())
    moved.SetCenter(((np.array(sample.image.shape[1:])[along] - 1) / 2).tolist())

    def resampled(channels: torch.Tensor, interpolator: int, outside: list[float]) -> torch.Tensor:
        done = np.empty(channels.shape, dtype=np.float32)
        for channel, value, result in zip(channels.numpy(), outside, done, strict=True):
            image = sitk.GetImageFromArray(channel.transpose(order))
            found = sitk.GetArrayFromImage(sitk.Resample(image, image, moved, interpolator, value))
            result[:] = found.transpose(np.argsort(order))
        return torch.from_numpy(done)

    image = resampled(sample.image, sitk.sitkLinear, fill.ravel().tolist())
    outside = [float(sample.outside)] * len(sample.target)
    return image, resampled(sample.target.float(), sitk.sitkNearestNeighbor, outside).to(torch.uint8)


def _moved_by_torch(sample: _Sample, matrix: NDArray[np.float64], shift: NDArray[np.float64], fill: torch.Tensor) -> Pair:
    import torch
    from torch.nn import functional

    # For torch a side runs from -1 to 1, and the last axis comes first.
    sides, device = np.array(sample.image.shape[1:]), sample.image.device
    theta = np.column_stack([(matrix * sides / sides[:, np.newaxis])[::-1, ::-1], (2 * shift / sides)[::-1]])
    grid = functional.affine_grid(
        torch.as_tensor(theta[np.newaxis], dtype=torch.float32, device=device), [1, 1, *sides.tolist()], align_corners=False
    )
    # As ITK does: half a voxel around the sample has the values of its border, whatever is beyond is filled.
    inside = grid.abs().amax(dim=-1) <= 1
    sampled = partial(functional.grid_sample, grid=grid, padding_mode="border", align_corners=False)
    image = sampled(sample.image[None], mode="bilinear")[0]
    target = sampled(sample.target[None].float(), mode="nearest")[0].to(torch.uint8)
    return torch.where(inside, image, fill), torch.where(inside, target, sample.outside)


def _rotation(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix of a rotation about R, A and S, in the order of ITK's Euler angles (A first, then R, then S)."""
    x, y, z = np.radians(degrees) * (-1, -1, 1)  # ITK counts in LPS
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    to_ras = np.diag([-1.0, -1.0, 1.0])
    return np.asarray(to_ras @ about_z @ about_x @ about_y @ to_ras)


def _flip(transform: Any, sample: _Sample, random: torch.Generator) -> Pair:
    import torch

    chosen = (transform.flip_probability > torch.rand(3, generator=random)).tolist()
    axes = [1 + axis for axis in range(3) if axis in transform.axes and chosen[axis]]
    return sample.image.flip(axes), sample.target.flip(axes)


def _gamma(transform: Any, sample: _Sample, random: torch.Generator) -> Pair:
    import torch

    low, high = transform.log_gamma_range
    channels = []
    for channel in sample.image:
        exponent = float(np.exp(_uniform(low, high, random)))
        channels.append(channel.abs().pow(exponent).copysign(channel) if channel.min() < 0 else channel.pow(exponent))
    return torch.stack(channels), sample.target


def _noise(transform: Any, sample: _Sample, random: torch.Generator) -> Pair:
    import torch

    mean, std = _drawn((*transform.mean_range, *transform.std_range), random).tolist()
    device = sample.image.device
    own = torch.Generator(device).manual_seed(int(torch.randint(0, 2**31, (1,), generator=random).item()))
    noise = torch.randn(sample.image.shape, generator=own, device=device)
    return torch.add(sample.image + mean, noise, alpha=std), sample.target


def _blur(transform: Any, sample: _Sample, random: torch.Generator) -> Pair:
    import torch

    image = sample.image
    for axis, (std, edge) in enumerate(zip(_drawn(transform.std_ranges, random), sample.spacing, strict=True), start=1):
        sigma = std / edge
        radius = int(_TRUNCATE * sigma + 0.5)
        if not radius:
            continue
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        weights /= weights.sum()
        length = image.shape[axis]
        mirrored = torch.as_tensor(np.pad(np.arange(length), radius, mode="symmetric"), device=image.device)
        padded = image.index_select(axis, mirrored)
        image = sum(float(weight) * padded.narrow(axis, first, length) for first, weight in enumerate(weights))  # type: ignore[assignment]
    return image, sample.target


def _bias(transform: Any, sample: _Sample, random: torch.Generator) -> Pair:
    import torch

    order, (low, high) = transform.order, transform.coefficients_range
    powers = [(i, j, k) for i in range(order + 1) for j in range(order + 1 - i) for k in range(order + 1 - i - j)]
    factors = np.zeros([order + 1] * 3)
    for place in powers:
        factors[place] = _uniform(low, high, random)
    field = factors
    # A sum of x^i y^j z^k is three products of small matrices: one axis after the other.
    for side in sample.image.shape[1:]:
        places = (np.arange(side) + 0.5 - side / 2) / max((side - 1) / 2, 0.5)
        field = np.tensordot(field, places ** np.arange(order + 1)[:, np.newaxis], axes=(0, 0))
    return sample.image * torch.as_tensor(np.exp(field).astype(np.float32), device=sample.image.device), sample.target


def _motion(transform: Any, sample: _Sample, random: torch.Generator) -> Pair:
    import torch

    count, image, edges = transform.num_transforms, sample.image, np.array(sample.spacing)
    degrees, translations = (
        torch.empty(count, 3).uniform_(*ranges, generator=random).double().numpy()
        for ranges in (transform.degrees_range, transform.translation_range)
    )
    if image.shape[3] == 1:
        degrees[:, :2], translations[:, 2] = 0.0, 0.0
    step = 1 / (count + 1)
    even, jitter = torch.arange(0, 1, step)[1:], torch.empty(count).uniform_(-0.3 * step, 0.3 * step, generator=random)
    times = (even + jitter).numpy()

    lowest = image.amin(dim=(1, 2, 3), keepdim=True)
    move = _moved_by_itk if image.device.type == "cpu" else _moved_by_torch
    middle, to_ras = (np.array(image.shape[1:]) - 1) / 2, np.array([-1.0, -1.0, 1.0])
    moments = [image]
    for angles, translation in zip(degrees, translations, strict=True):
        # About the first voxel, which is the origin of the patient's space for torchio.
        matrix = _rotation(angles * to_ras) * edges / edges[:, np.newaxis]
        shift = matrix @ middle - middle + translation * to_ras / edges
        moments.append(move(_Sample(image, sample.target[:0], sample.spacing, 0), matrix, shift, lowest)[0])
    # The sample as it was fills the middle of the spectrum.
    late = np.flatnonzero(times > 0.5)
    middlemost = int(late[0]) if len(late) else count
    moments[0], moments[middlemost] = moments[middlemost], moments[0]
    # Which part of the spectrum comes from when depends on the last axis alone: along the others nothing needs to be transformed.
    ends = [int(image.shape[3] * time) for time in times] + [image.shape[3]]
    mixed = torch.empty(image.shape, dtype=torch.complex64, device=image.device)
    start = 0
    for moment, end in zip(moments, ends, strict=True):
        mixed[..., start:end] = torch.fft.fftshift(torch.fft.fft(moment), dim=-1)[..., start:end]
        start = end
    return torch.fft.ifft(torch.fft.ifftshift(mixed, dim=-1)).real, sample.target


def _normalized(_transform: Any, sample: _Sample, _random: torch.Generator) -> Pair:
    import torch

    image = sample.image
    deviation = image.std() if image.numel() > 1 else torch.zeros(())
    return ((image - image.mean()) / deviation if deviation > 0 else torch.zeros_like(image)), sample.target


def _drawn(ranges: tuple[float, ...], random: torch.Generator) -> NDArray[np.float64]:
    return np.array([_uniform(low, high, random) for low, high in zip(ranges[::2], ranges[1::2], strict=True)])


def _uniform(low: float, high: float, random: torch.Generator) -> float:
    import torch

    return float(torch.empty(1).uniform_(low, high, generator=random))


_APPLY: dict[str, Callable[[Any, _Sample, torch.Generator], Pair]] = {
    "RandomAffine": _affine,
    "RandomFlip": _flip,
    "RandomGamma": _gamma,
    "RandomNoise": _noise,
    "RandomBlur": _blur,
    "RandomBiasField": _bias,
    "RandomMotion": _motion,
    "ZNormalization": _normalized,
}
