"""The transforms that torchio has not, or not for masks as we need them; made as torchio's own, so that they compose like them.

Loaded only where a pipeline runs (it imports torchio).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: TID253
import torch  # noqa: TID253  see above
import torchio  # noqa: TID253
from scipy.ndimage import find_objects

from napari_seg3d.transforms.elastic import RandomAffineElasticDeformation, RandomElasticDeformation
from napari_seg3d.transforms.outcome import SAME_SPACING
from napari_seg3d.transforms.tables.common import MAJORITY

_FOLLOWING = ("edge", "reflect", "symmetric", "wrap")
_ROUNDING = 1e-6
_SMALLEST_SMOOTHED = 4  # ITK's recursive filter needs so many voxels
_Intensity: Any = torchio.transforms.intensity_transform.IntensityTransform


class HUWindow(_Intensity):
    """Cut to a window given by its level and width, and bring it into a range.

    Parameters
    ----------
    level, width : float
        Middle and extent of the window, in the units of the image (HU for CT).
    out_min_max : two floats
        What the ends of the window become.
    """

    def __init__(self, level: float, width: float, out_min_max: tuple[float, float] = (0.0, 1.0), **base: Any) -> None:
        super().__init__(**base)
        self.level, self.width, self.out_min_max = level, width, out_min_max
        self.args_names = ["level", "width", "out_min_max"]

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Change the image in place."""
        low, high = self.out_min_max
        for image in self.get_images(subject):
            share = (image.data.float() - (self.level - self.width / 2)) / self.width
            image.set_data(share.clamp_(0, 1) * (high - low) + low)
        return subject


class ContextSlices(_Intensity):
    """Put the neighbours of each slice beside it as channels: ``(C, I, J, K)`` becomes ``(C * (2 n + 1), I, J, K)``.

    The channels of one offset stay together: all channels n slices below first, those n slices above last. Beyond the ends the last
    slice is repeated.

    Parameters
    ----------
    neighbours : int
        How many slices on each side.
    axis : int
        The axis along which slices lie.
    """

    def __init__(self, neighbours: int, axis: int, **base: Any) -> None:
        super().__init__(**base)
        self.neighbours, self.axis = neighbours, axis
        self.args_names = ["neighbours", "axis"]

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Change the image in place."""
        for image in self.get_images(subject):
            last = image.data.shape[1 + self.axis] - 1
            places = torch.arange(last + 1)
            shifted = [
                image.data.index_select(1 + self.axis, (places + offset).clamp(0, last))
                for offset in range(-self.neighbours, self.neighbours + 1)
            ]
            image.set_data(torch.cat(shifted))
        return subject


class _Majority:
    """Lets a resampling give each new voxel the label that fills most of it.

    ITK's nearest neighbour rounds up where a new voxel lies between two old ones: from 1 to 2 mm every mask would move by half a
    millimetre against its scan.
    """

    label_interpolation: str

    def __init__(self, *args: Any, label_interpolation: str = "nearest", **base: Any) -> None:
        is_majority = label_interpolation == MAJORITY
        base["label_interpolation"] = "nearest" if is_majority else label_interpolation
        super().__init__(*args, **base)
        self.label_interpolation = label_interpolation

    def _with_majority(self, subject: torchio.Subject, resample: Callable[[torchio.Subject], torchio.Subject]) -> torchio.Subject:
        if self.label_interpolation != MAJORITY:
            return resample(subject)
        before = {name: (mask.data, mask.affine) for name, mask in _masks(subject).items()}
        self.label_interpolation = "nearest"
        try:
            subject = resample(subject)
        finally:
            self.label_interpolation = MAJORITY
        for name, mask in _masks(subject).items():
            data, affine = before[name]
            voxels = np.linalg.solve(affine, mask.affine)
            mask.set_data(majority(data, tuple(mask.spatial_shape), voxels[:3, 3], np.diag(voxels)[:3]))
        return subject


class Resample(_Majority, torchio.Resample):
    """Change the voxel size, unless it is the same within a hundredth: that would only blur.

    Smoothing leaves axes of a few voxels alone, where torchio's fails, so that radiographs can be smoothed too.
    """

    @staticmethod
    def _smooth(image: sitk.Image, sigmas: Any, epsilon: float = 0.0) -> sitk.Image:
        for axis, sigma in enumerate(sigmas):
            if sigma > 0 and image.GetSize()[axis] >= _SMALLEST_SMOOTHED:
                image = sitk.RecursiveGaussian(image, float(sigma), direction=axis)
        return image

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Change image and mask in place."""
        if np.allclose(subject.spacing, self.target, rtol=SAME_SPACING):
            return subject
        return self._with_majority(subject, super().apply_transform)


class Resize(_Majority, torchio.Resize):
    """Change the number of voxels, to exactly those asked for.

    torchio's goes by the spacing, whose rounding leaves a row of zeros now and then.
    """

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Return a subject of the new size."""
        size = np.array(self.target_shape)
        factor = np.array(subject.spatial_shape) / size
        voxels = np.diag([*factor, 1.0])
        voxels[:3, 3] = (factor - 1) / 2
        target = (tuple(int(side) for side in size), subject.get_first_image().affine @ voxels)
        return self._with_majority(subject, torchio.Resample(target, image_interpolation=self.image_interpolation))


def _masks(subject: torchio.Subject) -> dict[str, torchio.LabelMap]:
    images = subject.get_images_dict(intensity_only=False).items()
    return {name: image for name, image in images if isinstance(image, torchio.LabelMap)}


def majority(
    data: torch.Tensor, size: tuple[int, ...], first: Any, factor: Any, *, background_counts: bool = True
) -> torch.Tensor:
    """Return the label that fills most of each new voxel.

    Parameters
    ----------
    data : tensor of shape (1, I, J, K)
        Labels.
    size : three ints
        Of the new grid, whose axes run along those of the old one.
    first, factor : three floats
        Where the first new voxel lies, in old voxels, and how many old ones a new one is wide.
    background_counts : bool
        Whether a voxel of which most is 0 becomes 0; otherwise any label in it wins.
    """
    out = torch.zeros(size, dtype=data.dtype)
    best, total = torch.zeros(size), torch.zeros(size)
    values, numbered = np.unique(data[0].numpy(), return_inverse=True)
    numbered = numbered.reshape(data.shape[1:]) + 1
    # Only where the label is: a whole body has a hundred labels, and most are small.
    for value, window in zip(values.tolist(), find_objects(numbered), strict=True):
        if not value:
            continue
        share = (data[0][window] == value).float()
        block: list[slice] = []
        for axis in range(3):
            width = max(1.0, float(factor[axis]))
            places = float(first[axis]) + torch.arange(size[axis], dtype=torch.float64) * float(factor[axis])
            near = torch.nonzero((places > window[axis].start - 1 - width) & (places < window[axis].stop + width)).ravel()
            block.append(slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 0))
            share = mean_over(share, axis, places[block[-1]], width, window[axis].start, data.shape[1 + axis])
        i, j, k = block
        total[i, j, k] += share
        better = share > best[i, j, k]
        best[i, j, k][better] = share[better]
        out[i, j, k][better] = value
    # What no label fills is background; of halves the label wins, or thin structures would vanish.
    if background_counts:
        out[best < 1 - total - _ROUNDING] = 0
    return out[None]


def mean_over(data: torch.Tensor, axis: int, places: torch.Tensor, width: float, start: int, length: int) -> torch.Tensor:
    """Return the mean over `width` voxels around places along an axis.

    `data` is constant within each voxel, begins at voxel `start` of an axis of `length`, and is 0 beyond what it covers.
    """
    sums = torch.cat([torch.zeros_like(data.narrow(axis, 0, 1)), data.cumsum(axis)], dim=axis)
    low, high = (places + 0.5 + half for half in (-width / 2, width / 2))
    # At the border the part of the new voxel that lies inside speaks for all of it.
    inside = (high.clamp(0, length) - low.clamp(0, length)).clamp(min=_ROUNDING)
    whole = _between(sums, axis, high - start) - _between(sums, axis, low - start)
    return (whole / inside.reshape([-1 if place == axis else 1 for place in range(3)])).float()


class LimitSize(torchio.transforms.spatial_transform.SpatialTransform):
    """Resize the sides that are longer or shorter than allowed; the others keep their voxels.

    Parameters
    ----------
    smallest, largest : int
        Voxels of a side.
    """

    def __init__(
        self, smallest: int, largest: int, image_interpolation: str = "linear", label_interpolation: str = "nearest", **base: Any
    ) -> None:
        super().__init__(**base)
        self.smallest, self.largest = smallest, largest
        self.image_interpolation, self.label_interpolation = image_interpolation, label_interpolation
        self.args_names = ["smallest", "largest", "image_interpolation", "label_interpolation"]

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Return a subject of the new size."""
        size = tuple(int(side) for side in np.clip(subject.spatial_shape, self.smallest, self.largest))
        if size == tuple(subject.spatial_shape):
            return subject
        return Resize(size, self.image_interpolation, label_interpolation=self.label_interpolation)(subject)


class Anisotropy(_Intensity):
    """Make an image as if it had been taken with thicker slices along one axis, on the grid that it has.

    Parameters
    ----------
    axis : int
        Across the slices.
    downsampling : float
        How many voxels one thick slice is.
    """

    def __init__(self, axis: int, downsampling: float, **base: Any) -> None:
        super().__init__(**base)
        self.axis, self.downsampling = axis, downsampling
        self.args_names = ["axis", "downsampling"]

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Change the image in place."""
        for image in self.get_images(subject):
            data = image.data.float()
            length = data.shape[1 + self.axis]
            count = max(1, int(length / self.downsampling))
            # Centred, so that nothing moves; the last thick slice is repeated to the border.
            first = (length - 1 - (count - 1) * self.downsampling) / 2
            thick = _between(data, 1 + self.axis, first + torch.arange(count) * self.downsampling)
            image.set_data(_between(thick, 1 + self.axis, (torch.arange(length) - first) / self.downsampling))
        return subject


class RandomAnisotropy(torchio.RandomAnisotropy):
    """Anisotropy of a random axis and size.

    torchio's moves the image by up to a voxel against its mask and leaves a rim of zeros.
    """

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Return the changed subject."""
        return Anisotropy(*self.get_params(self.axes, self.downsampling_range))(subject)


def _between(data: torch.Tensor, axis: int, places: torch.Tensor) -> torch.Tensor:
    """Return the values at fractional places along an axis; outside, the nearest."""
    places = places.double().clamp(0, data.shape[axis] - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=data.shape[axis] - 1)
    share = (places - low).to(data.dtype).reshape([-1 if place == axis else 1 for place in range(data.ndim)])
    return torch.lerp(data.index_select(axis, low), data.index_select(axis, high), share)


class Flip(torchio.Flip):
    """Mirror; a side of one voxel, where torchio fails, is its own mirror image."""

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Return the changed subject."""
        axes = tuple(axis for axis in self.axes if subject.spatial_shape[axis] > 1)
        return torchio.Flip(axes).apply_transform(subject) if axes else subject


class RandomFlip(torchio.RandomFlip):
    """Mirror at random, as `Flip` does."""

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Return the changed subject."""
        chosen = self.get_params(self.flip_probability)
        axes = tuple(axis for axis in range(3) if axis in self.axes and chosen[axis])
        return Flip(axes)(subject) if axes else subject


class Clamp(torchio.Clamp):
    """Cut values off; without any limit, nothing."""

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Change the image in place."""
        return subject if self.out_min is None and self.out_max is None else super().apply_transform(subject)


class ZNormalization(torchio.ZNormalization):
    """Bring to mean 0 and standard deviation 1; a volume without any contrast, such as a patch of air, becomes 0."""

    @staticmethod
    def znorm(tensor: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the normalised values; only those in `mask` are measured."""
        values = _measured(tensor, mask).float()
        if values.numel() < 2 or not (deviation := values.std()) > 0:
            return torch.zeros_like(tensor, dtype=torch.float32)
        return (tensor.float() - values.mean()).div_(deviation)


class RescaleIntensity(torchio.RescaleIntensity):
    """Stretch into a range, with one copy of the values at a time."""

    def rescale(self, tensor: torch.Tensor, mask: torch.Tensor, image_name: str) -> torch.Tensor:
        """Return the rescaled values; a volume without any contrast, or an empty mask, stays as it is."""
        values = _measured(tensor, mask).numpy().astype(np.float32).ravel()
        if not values.size:
            return tensor
        low, high = np.asarray(np.percentile(values, self.percentiles, overwrite_input=True)).tolist()
        del values
        array = np.clip(source := tensor.float().numpy(), low, high, out=np.empty_like(source))
        first, last = (array.min(), array.max()) if self.in_min_max is None else self.in_min_max
        if first == last:
            return tensor
        array -= first
        array /= last - first
        array *= self.out_max - self.out_min
        array += self.out_min
        return torch.as_tensor(array)


def _measured(tensor: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the values in a mask; all of them without a copy."""
    return tensor if bool(mask.all()) else tensor[mask]


class Pad(torchio.Pad):
    """Pad; the mask with background, unless the image is continued by itself, which the mask then follows."""

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Change image and mask in place."""
        if self.padding_mode in _FOLLOWING:
            return super().apply_transform(subject)
        image = subject.get_images_dict(intensity_only=True)
        for names, mode in ((list(image), self.padding_mode), ([name for name in _names(subject) if name not in image], 0)):
            if names:
                subject = torchio.Pad(self.padding, padding_mode=mode, include=names, copy=False).apply_transform(subject)
        return subject


class CropOrPad(torchio.CropOrPad):
    """Crop or pad to a size, padding as `Pad` does."""

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Return a subject of the new size."""
        padding, cropping = self._compute_crop_or_pad(subject, self._resolve_target_voxels(subject))
        if padding is not None and not self.only_crop:
            subject = Pad(padding, padding_mode=self.padding_mode)(subject)
        if cropping is not None and not self.only_pad:
            subject = torchio.Crop(cropping)(subject)
        return subject


class EnsureShapeMultiple(torchio.EnsureShapeMultiple):
    """Crop or pad to a multiple; the image is padded with its minimum, because 0 may be anything."""

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Return a subject of the new size."""
        shares = np.array(subject.spatial_shape) / self.target_multiple
        size = np.maximum((np.floor if self.method == "crop" else np.ceil)(shares), 1) * self.target_multiple
        # A side shorter than the multiple cannot be cropped to it.
        return CropOrPad(tuple(int(side) for side in size), padding_mode="minimum")(subject)


def _names(subject: torchio.Subject) -> list[str]:
    return list(subject.get_images_dict(intensity_only=False))


class _PerLabel:
    """A transform of torchio that knows only masks with one label, applied to each label by itself."""

    def apply_transform(self, subject: torchio.Subject) -> torchio.Subject:
        """Change the mask in place."""
        one_label: Any = super()
        for mask in self.get_images(subject):  # type: ignore[attr-defined]  # of the transform beside which this stands
            done = torch.zeros_like(mask.data)
            for value in mask.data.unique().tolist():
                if value:
                    part = torchio.LabelMap(tensor=(mask.data == value).to(torch.int32), affine=mask.affine)
                    done[one_label.apply_transform(torchio.Subject(mask=part)).mask.data > 0] = value
            mask.set_data(done)
        return subject


class KeepLargestComponent(_PerLabel, torchio.KeepLargestComponent):
    """Keep the largest piece of each label."""


class Contour(_PerLabel, torchio.Contour):
    """Keep the border of each label."""


#: Those that take the place of torchio's of the same name, and those that torchio has not.
TRANSFORMS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        HUWindow,
        ContextSlices,
        Resample,
        Resize,
        LimitSize,
        RandomAnisotropy,
        Flip,
        RandomFlip,
        RandomElasticDeformation,
        RandomAffineElasticDeformation,
        Clamp,
        ZNormalization,
        RescaleIntensity,
        Pad,
        CropOrPad,
        EnsureShapeMultiple,
        KeepLargestComponent,
        Contour,
    )
}
