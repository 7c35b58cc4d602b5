"""``series``, ``convert`` and ``deidentify``: scans and masks as files, without a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_seg3d.cli.app import CONSOLE, ERRORS, progress_bar, teller
from napari_seg3d.errors import ConfigError

if TYPE_CHECKING:
    from napari_seg3d.volumes import Kind, Series


def series(folder: Annotated[Path, typer.Argument(help="A folder, a DICOM file, or a DICOMDIR.")]) -> None:
    """List the DICOM series in a folder and below it, in words that name no patient.

    The exit status is 1 when one of them cannot be opened as it is.
    """
    from napari_seg3d.volumes import find_series

    with progress_bar() as bar:
        found = find_series(folder, progress=teller(bar, "Looking at the headers"))
    table = Table("", "series", "size", "files", "folder", "problem", title=f"{len(found)} series")
    root = folder if folder.is_dir() else folder.parent
    for number, one in enumerate(found, start=1):
        what = one.problem.what.removeprefix(f"{one.source.path}: ") if one.problem is not None else ""
        description = one.description.removesuffix(f", {one.size}") if one.size else one.description
        where = one.files[0].parent.relative_to(root)
        table.add_row(str(number), escape(description), one.size, str(len(one.files)), escape(str(where)), escape(what))
    CONSOLE.print(table)
    spoilt = [one for one in found if one.problem is not None and one.kind == "image"]
    if spoilt:
        assert spoilt[0].problem is not None
        ERRORS.print(escape(spoilt[0].problem.fix), highlight=False)
        raise typer.Exit(1)


def convert(
    scan: Annotated[Path, typer.Argument(help="A scan or a mask: a file of any format, or the folder of a DICOM series.")],
    out: Annotated[Path, typer.Argument(help="The file to write; its ending chooses the format.")],
    resample_irregular: Annotated[
        bool, typer.Option(help="Resample slices that are tilted or unevenly spaced onto a regular grid.")
    ] = False,
    variable: Annotated[str | None, typer.Option(help="Which array of a .mat or .npz file; left out, its shape decides.")] = None,
    number: Annotated[
        int | None,
        typer.Option("--series", help="Which series of a folder with several, by its number in `napari-seg3d series`."),
    ] = None,
    kind: Annotated[str, typer.Option(help="auto, image or labels.")] = "auto",
    on: Annotated[
        Path | None,
        typer.Option(help="The scan that the mask was drawn on: the mask is put on its grid, and a DICOM SEG refers to it."),
    ] = None,
    per_label: Annotated[bool, typer.Option("--per-label", help="Write each label to a file of its own.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace files that are there already.")] = False,
) -> None:
    """Read a scan or a mask of any format and write it in another one, on its own grid.

    What the file does not say, or had to be assumed, is said.
    """
    from napari_seg3d.datasets import place_mask
    from napari_seg3d.volumes import read_volume, write_label_files, write_volume

    if kind not in ("auto", "image", "labels"):
        raise ConfigError(f"There is no kind {kind!r}.", "Choose auto, image or labels.")
    if number is not None:
        volume = _numbered(scan, number).read(resample_irregular)
    else:
        is_mask = kind == "labels" or on is not None or per_label
        wanted: Kind | None = "labels" if is_mask else "image" if kind == "image" else None
        volume = read_volume(scan, wanted, variable=variable, resample_irregular=resample_irregular)
    for note in volume.notes:
        ERRORS.print(f"[yellow]{escape(note)}[/]", highlight=False, soft_wrap=True)
    if on is not None:
        image = read_volume(on, "image", resample_irregular=resample_irregular)
        volume = replace(place_mask(volume, image), source=image.source)
    written = (
        write_label_files(volume, out, overwrite=overwrite) if per_label else [write_volume(volume, out, overwrite=overwrite)]
    )
    for file in written:
        CONSOLE.print(f"[bold]{escape(str(file))}[/]: {volume.kind}, {volume.grid}", highlight=False, soft_wrap=True)


def _numbered(folder: Path, number: int) -> Series:
    from napari_seg3d.volumes import find_series

    found = find_series(folder)
    if not 1 <= number <= len(found):
        raise ConfigError(
            f"{folder} holds {len(found)} series, none with the number {number}.", "List them with napari-seg3d series."
        )
    return found[number - 1]


def deidentify(
    scans: Annotated[list[Path], typer.Argument(help="Scans, or folders of scans.")],
    out: Annotated[Path, typer.Option(help="A new folder for the copies.")],
    key: Annotated[
        Path | None, typer.Option(help="Also write a CSV that says which copy came from which file; keep it secret.")
    ] = None,
) -> None:
    """Strip names, ids and dates from copies of scans; the scans themselves are only read.

    DICOM follows the basic profile of the standard (PS3.15, Annex E); dates are shifted, so that intervals stay. NIfTI, NRRD and
    MetaImage keep voxels and geometry, nothing else. What cannot be cleaned is refused, and the exit status is then 1. Voxels are
    not changed: text that is burned into a picture stays, and so do faces in scans of heads.
    """
    import csv
    import io

    from napari_seg3d.files import write_text
    from napari_seg3d.volumes import FACES
    from napari_seg3d.volumes import deidentify as copy_without_patients

    if key is not None and key.resolve().is_relative_to(out.resolve()):
        raise ConfigError(f"{key} would lie among the copies, and says whose they are.", "Choose another place for the key.")
    with progress_bar() as bar:
        report = copy_without_patients(scans, out, progress=teller(bar, "Copying"))
    if key is not None:
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows(
            [("copy", "source"), *((copy, source) for source, copy in report.copies)]
        )
        write_text(key, table.getvalue())
    CONSOLE.print(f"{len(report.copies)} copies are in [bold]{escape(str(out))}[/].", highlight=False, soft_wrap=True)
    for warning, copies in report.by_warning().items():
        more = f" and {len(copies) - 1} more" if len(copies) > 1 else ""
        ERRORS.print(f"[yellow]Look at {escape(str(copies[0]))}{more}: {escape(warning)}.[/]", highlight=False, soft_wrap=True)
    CONSOLE.print(FACES, highlight=False)
    for file, reason in report.refused:
        ERRORS.print(f"[bold red]Not copied:[/] {escape(str(file))}: {escape(reason)}", highlight=False, soft_wrap=True)
    if report.refused:
        raise typer.Exit(1)
