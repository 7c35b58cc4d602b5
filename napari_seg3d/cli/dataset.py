"""``import`` and ``export``: data sets as one file, and as other programs want them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from napari_seg3d.cli.app import CONSOLE, Masks, Subjects, names_table, print_problems, progress_bar, teller
from napari_seg3d.errors import ConfigError

if TYPE_CHECKING:
    from napari_seg3d.datasets import Dataset

# How sure a pair is, in colours.
_SURE, _LIKELY = 0.85, 0.7


def import_(
    source: Annotated[
        Path,
        typer.Argument(help="Folder of a data set or of its images, or a CSV with the columns image, mask, case, subject, set."),
    ],
    masks: Masks = None,
    subjects: Subjects = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The dataset.yaml to write. Left out, it goes into the folder, which can then move with it."),
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(help="A pair chosen by hand, as IMAGE=MASK; the image may be given as a case id. Repeatable."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Replace a dataset.yaml that is there, with all that was decided in it.")
    ] = False,
) -> None:
    """Pair images with masks and keep the result in a dataset.yaml, which opens like a folder.

    Known are two folders, imagesTr/labelsTr, Img/Mask, masks beside images, one mask file for each label, dataset.json of the
    decathlon and of nnU-Net, LUNA (the masks of its nodules are made), and lists. The scans stay where they are.
    """
    from napari_seg3d.datasets import import_dataset

    with progress_bar() as bar:
        dataset = import_dataset(
            source,
            out,
            masks=masks,
            subjects=subjects,
            pairs=dict(map(_pair, pair or ())),
            overwrite=overwrite,
            progress=teller(bar, "Making masks", at_once=False),
        )
    CONSOLE.print(_pairs(dataset))
    labels = ", ".join(f"{value} {name}" for value, name in dataset.labels.items())
    CONSOLE.print(
        f"{dataset.name}: {len(dataset.cases)} images, {len(dataset.pairs)} with masks"
        + (f"; labels {escape(labels)}" if labels else ""),
        highlight=False,
        soft_wrap=True,
    )
    CONSOLE.print(f"It is stored in [bold]{escape(str(dataset.file))}[/].", highlight=False, soft_wrap=True)
    print_problems(dataset.problems)


def export(
    dataset: Annotated[Path, typer.Argument(help="A dataset.yaml, or whatever import takes.")],
    nnunet: Annotated[Path, typer.Option(help="nnU-Net's raw folder, in which the data set gets a folder of its own.")],
    number: Annotated[int, typer.Option("--id", help="Number of the data set, from 1 to 999.")],
    name: Annotated[str, typer.Option(help="Name of the data set: letters, digits, _ and -.")],
    masks: Masks = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier export of this number and name.")] = False,
) -> None:
    """Write a data set as the raw folder of nnU-Net 2, as NIfTI whatever format it has.

    The test set goes to imagesTs. Labels are renumbered without gaps, and label_values.csv says which was which.
    """
    from napari_seg3d.datasets import export_nnunet, open_dataset

    with progress_bar() as bar:
        folder = export_nnunet(
            open_dataset(dataset, masks), nnunet, number, name, overwrite=overwrite, progress=teller(bar, "Reading the cases")
        )
    CONSOLE.print(f"The data set is in [bold]{escape(str(folder))}[/].", highlight=False, soft_wrap=True)


def _pair(text: str) -> tuple[str | Path, Path]:
    image, separator, mask = text.partition("=")
    if not separator or not image or not mask:
        raise ConfigError(f"--pair {text} is no pair.", "Write IMAGE=MASK.")
    return image, Path(mask)


def _pairs(dataset: Dataset) -> Table:
    table = names_table("case", "subject", "image", "mask", "sure", "why")
    for case in dataset.cases:
        mask = f"{len(case.parts)} files" if case.parts else case.mask.name if case.mask is not None else "none"
        colour = "green" if case.sureness >= _SURE else "yellow" if case.sureness >= _LIKELY else "red"
        sure = f"[{colour}]{case.sureness:.0%}[/]" if case.mask is not None else ""
        names = ", ".join(path.name for path in case.images)
        table.add_row(*map(escape, (case.id, case.subject, names, mask)), sure, escape(case.reason))
    return table
