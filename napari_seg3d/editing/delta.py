"""`Delta`: what an edit has changed, kept in few bytes, to take it back and to do it again.

Of each slab of the edited box the smallest box with a difference is kept: one bit per voxel that says whether it differs, and the values of
those before and after, counted from their smallest one, in as few bytes each as that needs, and compressed. One value only costs its number.
Slabs lie across the axis along which the mask's memory is longest, so that no temporary array is larger than a slab, whatever is edited.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from napari_seg3d.editing.change import Box, box_around, joined, shape_of
from napari_seg3d.errors import GeometryError, ReadError

# Voxels of a slab: its temporary arrays take some ten bytes each.
_SLAB = 1 << 20
_LEVEL = 1  # of compression: four times as fast as level 3, and label maps are small at any
_OBJECT = 400  # bytes that Python takes for a piece


@dataclass(frozen=True)
class _Packed:
    """Integers in few bytes: `low` added to unsigned numbers of type `kind`; all of them are `low` where `kind` is empty."""

    low: int
    kind: str
    blob: bytes

    @classmethod
    def of(cls, values: NDArray[np.integer]) -> _Packed:
        low, high = int(values.min()), int(values.max())
        if low == high:
            return cls(low, "", b"")
        unsigned = np.dtype(f"u{values.dtype.itemsize}")
        kind = np.min_scalar_type(high - low)
        # Modulo the range of the type, so that negative numbers and those past 2**63 are right, too.
        above = np.ascontiguousarray(values).view(unsigned) - np.array(low, values.dtype).view(unsigned)
        return cls(low, kind.newbyteorder("<").str, isal_zlib.compress(above.astype(kind.newbyteorder("<")).tobytes(), _LEVEL))

    def values(self, dtype: np.dtype[np.integer], number: int) -> NDArray[np.integer]:
        low = np.array(self.low, dtype)
        if not self.kind:
            return np.broadcast_to(low, (number,))
        unsigned = np.dtype(f"u{dtype.itemsize}")
        above = np.frombuffer(isal_zlib.decompress(self.blob), self.kind).astype(unsigned)
        above += low.view(unsigned)
        return above.view(dtype)


@dataclass(frozen=True)
class _Piece:
    """What differs in one box; along `axes`, in which the mask's memory runs."""

    box: Box  # in the mask's own order
    axes: tuple[int, ...]
    bits: bytes  # one for each voxel of the box, compressed; empty where all differ
    number: int  # of voxels that differ
    before: _Packed
    after: _Packed

    @classmethod
    def of(
        cls, box: Box, axes: tuple[int, ...], differs: NDArray[np.bool_], before: NDArray[np.integer], after: NDArray[np.integer]
    ) -> _Piece:
        """Keep the values of the voxels that differ; `differs` lies along `axes` and the values follow its order."""
        full = before.size == differs.size
        bits = b"" if full else isal_zlib.compress(np.packbits(differs).tobytes(), _LEVEL)
        return cls(box, axes, bits, before.size, _Packed.of(before), _Packed.of(after))

    @property
    def nbytes(self) -> int:
        return len(self.bits) + len(self.before.blob) + len(self.after.blob) + _OBJECT

    def write(self, mask: NDArray[np.integer], packed: _Packed) -> None:
        there = mask[self.box].transpose(self.axes)
        values = packed.values(mask.dtype, self.number)
        if not self.bits:
            there[...] = values.reshape(there.shape)
            return
        bits = np.frombuffer(isal_zlib.decompress(self.bits), np.uint8)
        differs = np.unpackbits(bits, count=there.size).view(np.bool_).reshape(there.shape)
        there[differs] = values


@dataclass(frozen=True)
class Delta:
    """What an edit has changed in a mask of `shape` and `dtype`, and the name of the tool that did it, where it has one.

    Made by `history.apply`, or of what somebody else has written by `Delta.of_points` and `Delta.of_region`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.integer]
    pieces: tuple[_Piece, ...]
    tool: str = ""

    @classmethod
    def of_points(
        cls,
        mask: NDArray[np.integer],
        indices: Sequence[NDArray[np.integer]],
        before: NDArray[np.integer] | int,
        after: NDArray[np.integer] | int,
    ) -> Delta | None:
        """Return the delta of single voxels that somebody has written, or is about to write.

        Parameters
        ----------
        mask : array of integers
            Only its shape, type and order in memory count.
        indices : one array of integers for each axis
            Where.
        before, after : arrays of integers, or int
            The values of these voxels. Of one that is named twice, the first `before` and the last `after` count.

        Returns
        -------
        Delta or None
            None where no voxel differs.
        """
        axes = memory_order(mask)
        shape = tuple(mask.shape[axis] for axis in axes)
        flat = np.ravel_multi_index(tuple(np.asarray(indices[axis]).ravel() % max(mask.shape[axis], 1) for axis in axes), shape)
        old = np.broadcast_to(np.asarray(before, mask.dtype).ravel(), flat.shape)
        new = np.broadcast_to(np.asarray(after, mask.dtype).ravel(), flat.shape)
        places, first = np.unique(flat, return_index=True)
        _, last = np.unique(flat[::-1], return_index=True)
        old, new = old[first], new[::-1][last]
        kept = old != new
        places, old, new = places[kept], old[kept], new[kept]
        pieces = []
        for slab in slabs(shape):
            plane = int(np.prod(shape[1:]))
            one, other = np.searchsorted(places, [slab[0].start * plane, slab[0].stop * plane])
            if one == other:
                continue
            where = np.unravel_index(places[one:other], shape)
            tight = tuple(slice(int(along.min()), int(along.max()) + 1) for along in where)
            differs = np.zeros(shape_of(tight), np.bool_)
            differs[tuple(along - side.start for along, side in zip(where, tight, strict=True))] = True
            pieces.append(_Piece.of(_back(tight, axes), axes, differs, old[one:other], new[one:other]))
        return cls(mask.shape, mask.dtype, tuple(pieces)) if pieces else None

    @classmethod
    def of_region(
        cls,
        mask: NDArray[np.integer],
        box: Box,
        differs: NDArray[np.bool_] | None,
        before: NDArray[np.integer],
        after: NDArray[np.integer] | int,
    ) -> Delta | None:
        """Return the delta of a box that somebody has written, or is about to write.

        Parameters
        ----------
        mask : array of integers
            Only its shape and type count.
        box : tuple of slice
            Where.
        differs : array of bool, optional
            Of the shape of the box: which voxels are written; left out, all of them.
        before, after : arrays of integers, or int
            The values of those voxels in the order of `differs`.
        """
        axes = tuple(range(mask.ndim))
        flags = np.ones(shape_of(box), np.bool_) if differs is None else differs.copy()
        old = np.broadcast_to(np.asarray(before, mask.dtype).ravel(), (int(np.count_nonzero(flags)),))
        new = np.broadcast_to(np.asarray(after, mask.dtype).ravel(), old.shape)
        kept = old != new
        flags[flags] = kept
        tight = box_around(flags)
        if tight is None:
            return None
        piece = _Piece.of(_shifted(tight, box), axes, flags[tight], old[kept], new[kept])
        return cls(mask.shape, mask.dtype, (piece,))

    @classmethod
    def from_empty(cls, mask: NDArray[np.integer]) -> Delta | None:
        """Return the delta that makes a mask of an empty one; None where it is empty itself."""
        axes = memory_order(mask)
        pieces = []
        for slab in slabs([mask.shape[axis] for axis in axes]):
            box = _back(slab, axes)
            values = mask[box].transpose(axes)
            piece = delta_of_slab(box, axes, values != 0, np.broadcast_to(mask.dtype.type(0), values.shape), values)
            if piece is not None:
                pieces.append(piece)
        return cls(mask.shape, mask.dtype, tuple(pieces)) if pieces else None

    @property
    def box(self) -> Box:
        """The smallest box with everything that differs."""
        return joined([piece.box for piece in self.pieces])

    @property
    def nbytes(self) -> int:
        """Bytes of memory that this takes."""
        return sum(piece.nbytes for piece in self.pieces)

    @property
    def number(self) -> int:
        """Voxels that differ."""
        return sum(piece.number for piece in self.pieces)

    def undo(self, mask: NDArray[np.integer]) -> Box:
        """Write the values from before the edit; return where. Raises a GeometryError for another mask."""
        self._check(mask)
        for piece in self.pieces:
            piece.write(mask, piece.before)
        return self.box

    def redo(self, mask: NDArray[np.integer]) -> Box:
        """Write the values from after the edit; return where. Raises a GeometryError for another mask."""
        self._check(mask)
        for piece in self.pieces:
            piece.write(mask, piece.after)
        return self.box

    def to_bytes(self) -> bytes:
        """Return this delta as bytes for a file."""
        head = {
            "shape": self.shape,
            "dtype": self.dtype.str,
            "tool": self.tool,
            "pieces": [
                {
                    "box": [[side.start, side.stop] for side in piece.box],
                    "axes": piece.axes,
                    "number": piece.number,
                    "bits": len(piece.bits),
                    "before": [piece.before.low, piece.before.kind, len(piece.before.blob)],
                    "after": [piece.after.low, piece.after.kind, len(piece.after.blob)],
                }
                for piece in self.pieces
            ],
        }
        text = json.dumps(head, separators=(",", ":")).encode()
        blobs = [blob for piece in self.pieces for blob in (piece.bits, piece.before.blob, piece.after.blob)]
        return b"".join([struct.pack("<I", len(text)), text, *blobs])

    @classmethod
    def from_bytes(cls, content: bytes) -> Delta:
        """Return the delta that these bytes hold; raises a ReadError where they hold none."""
        try:
            (size,) = struct.unpack_from("<I", content)
            head = json.loads(content[4 : 4 + size])
            blobs = _Blobs(content, 4 + size)
            dtype = np.dtype(head["dtype"])
            pieces = tuple(
                _Piece(
                    tuple(slice(start, stop) for start, stop in piece["box"]),
                    tuple(piece["axes"]),
                    blobs.take(piece["bits"]),
                    piece["number"],
                    _Packed(piece["before"][0], piece["before"][1], blobs.take(piece["before"][2])),
                    _Packed(piece["after"][0], piece["after"][1], blobs.take(piece["after"][2])),
                )
                for piece in head["pieces"]
            )
            return cls(tuple(head["shape"]), dtype, pieces, str(head.get("tool", "")))
        except (struct.error, ValueError, KeyError, TypeError, IndexError) as error:
            raise ReadError("What should be an edit of a mask is damaged.", "Use what was saved before it.") from error

    def _check(self, mask: NDArray[np.integer]) -> None:
        if mask.shape != self.shape or mask.dtype != self.dtype:
            raise GeometryError(
                f"An edit of a mask of {self.shape} ({self.dtype}) cannot be taken back in one of {mask.shape} ({mask.dtype}).",
                "Give the mask that was edited.",
            )


class _Blobs:
    """Takes one piece of bytes after the other."""

    def __init__(self, content: bytes, start: int) -> None:
        self._content, self._at = content, start

    def take(self, size: int) -> bytes:
        blob = self._content[self._at : self._at + size]
        if len(blob) != size:
            raise ValueError("cut short")
        self._at += size
        return blob


def delta_of_slab(
    box: Box, axes: tuple[int, ...], differs: NDArray[np.bool_], before: NDArray[np.integer], after: NDArray[np.integer]
) -> _Piece | None:
    """Return what differs in one slab, all of whose arrays lie along `axes`; None where nothing does."""
    tight = box_around(differs)
    if tight is None:
        return None
    flags = differs[tight]
    along = tuple(box[axis] for axis in axes)
    return _Piece.of(_back(_shifted(tight, along), axes), axes, flags, before[tight][flags], after[tight][flags])


def memory_order(mask: NDArray[np.generic]) -> tuple[int, ...]:
    """Return the axes of a mask from the one with the longest steps in memory to the one with the shortest."""
    return tuple(int(axis) for axis in np.argsort([-abs(step) for step in mask.strides], kind="stable"))


def slabs(shape: Sequence[int]) -> Iterator[Box]:
    """Yield boxes across the first axis that make up an array together, of some millions of voxels each."""
    plane = max(int(np.prod(shape[1:], dtype=np.int64)), 1)
    thick = max(_SLAB // plane, 1)
    for start in range(0, shape[0], thick):
        yield (slice(start, min(start + thick, shape[0])), *(slice(0, side) for side in shape[1:]))


def _shifted(box: Box, outer: Box) -> Box:
    return tuple(slice(inner.start + side.start, inner.stop + side.start) for inner, side in zip(box, outer, strict=True))


def _back(box: Box, axes: tuple[int, ...]) -> Box:
    """Return a box that lies along `axes` in the mask's own order."""
    return tuple(box[axes.index(axis)] for axis in range(len(axes)))
