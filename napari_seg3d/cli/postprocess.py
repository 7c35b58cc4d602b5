"""``postprocess``: what happens to masks after the network, on files, and which of it helps a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from napari_seg3d.cli.app import CONSOLE, ERRORS, names_table, progress_bar, teller
from napari_seg3d.errors import ConfigError, Seg3dError

if TYPE_CHECKING:
    from napari_seg3d.inference.postprocess import Rules
    from napari_seg3d.volumes import Volume

_ALL = "all"


def postprocess(
    masks: Annotated[list[Path] | None, typer.Argument(help="Masks, or folders of masks.")] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the results; each keeps the name and, where that can be, the format.")
    ] = Path("postprocessed"),
    largest: Annotated[
        list[str] | None,
        typer.Option(help="Keep the largest piece of this label only: its value or name, or all. May be repeated."),
    ] = None,
    min_ml: Annotated[float | None, typer.Option(help="Drop pieces below this volume in ml.")] = None,
    min_voxels: Annotated[int | None, typer.Option(help="Drop pieces of fewer voxels.")] = None,
    holes: Annotated[bool, typer.Option("--holes", help="Fill holes.")] = False,
    plane: Annotated[
        str, typer.Option(help="Fill holes slice by slice: axial, coronal or sagittal. Left out, those that are closed in 3D.")
    ] = "",
    closing_mm: Annotated[float | None, typer.Option(help="Close gaps that a ball of this radius in mm cannot enter.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Sizes, holes and gaps of this label only: its value or name. May be repeated.")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(help="Apply what was chosen for this model instead: a checkpoint, or a run folder.")
    ] = None,
    choose: Annotated[
        Path | None,
        typer.Option(
            help="Predict the validation cases of this run, and choose the rules that raise their Dice, for its best model."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Of --choose: auto, cpu, cuda or mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace files that are there already.")] = False,
) -> None:
    """Clean masks, or choose for a run what cleans its predictions.

    In this order: gaps are closed, small pieces dropped, the largest piece kept, holes filled. No label takes a voxel of another one. A mask
    that cannot be cleaned is reported and the rest goes on; the exit status is then 1.
    """
    if choose is not None:
        _choose(choose, device, overwrite)
        return
    from napari_seg3d.volumes import write_volume

    size = {"smallest_ml": min_ml, "smallest_voxels": min_voxels, "closing_mm": closing_mm}
    asked = {**size, "holes": plane or ("3D" if holes else "no")}
    stored = _stored(rules) if rules is not None else None
    if stored is None and not largest and asked == {**dict.fromkeys(size), "holes": "no"}:
        raise ConfigError(
            "Nothing was asked for.", "Give --largest, --min-ml, --min-voxels, --holes, --closing-mm, --rules or --choose."
        )
    files = _files(masks or [])
    failed: list[Seg3dError] = []
    told: list[str] = []
    with progress_bar() as bar:
        tell = teller(bar, "Cleaning")
        for done, (file, name) in enumerate(files.items(), start=1):
            try:
                mask, notes = _cleaned(file, stored, asked, largest or [], only or [])
                write_volume(mask, out / name, overwrite=overwrite)
                told += [f"{name}: {note}" for note in notes]
            except Seg3dError as error:
                failed.append(error)
            tell(done, len(files))
    for note in told:
        CONSOLE.print(escape(note), highlight=False, soft_wrap=True)
    CONSOLE.print(f"{len(files) - len(failed)} masks are in [bold]{escape(str(out))}[/].", highlight=False, soft_wrap=True)
    for failure in failed:
        ERRORS.print(f"[bold red]Error:[/] {escape(str(failure))}", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _files(masks: list[Path]) -> dict[Path, str]:
    """Return the masks among files and folders, each with the name of its result."""
    from napari_seg3d.datasets import find_masks
    from napari_seg3d.volumes import MASK_SUFFIXES, volume_name

    found = [
        path for one in masks for path in ([path for item in find_masks(one) for path in item.paths] if one.is_dir() else [one])
    ]
    if not found:
        raise ConfigError("There is no mask to clean.", "Give masks, or folders with masks in them.")
    # A DICOM SEG needs the series that it was drawn on, and a picture holds neither its place nor overlapping labels.
    endings = [ending for ending in MASK_SUFFIXES if ending not in (".dcm", ".png")]
    names = {}
    for file in dict.fromkeys(found):
        ending = next((one for one in endings if file.name.lower().endswith(one)), ".nii.gz")
        names[file] = f"{volume_name(file)}{ending}"
    if len(set(names.values())) < len(names):
        twice = next(name for name in names.values() if list(names.values()).count(name) > 1)
        raise ConfigError(
            f"Several masks would become {twice}.", "Clean them one folder at a time, each with an --out of its own."
        )
    return names


def _cleaned(
    file: Path, stored: Rules | None, asked: dict[str, Any], largest: list[str], only: list[str]
) -> tuple[Volume, list[str]]:
    from napari_seg3d.datasets import read_mask
    from napari_seg3d.inference.postprocess import postprocessed

    mask = read_mask(file, overlapping=True)
    return postprocessed(mask, stored if stored is not None else _rules(mask, asked, largest, only))


def _rules(mask: Volume, asked: dict[str, Any], largest: list[str], only: list[str]) -> Rules:
    """Return what was asked for, in the values of one mask: names may have other values in another."""
    from pydantic import ValidationError

    from napari_seg3d.inference.postprocess import Rule, Rules

    single = {_value(mask, name) for name in largest if name != _ALL}
    chosen = {_value(mask, name) for name in only if name != _ALL}
    try:
        rest = {} if chosen else asked
        every = Rule(**rest, largest=_ALL in largest)
        labels = {
            value: Rule(**(asked if value in chosen else rest), largest=_ALL in largest or value in single)
            for value in single | chosen
        }
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{where + ': ' if where else ''}{first['msg']}.", "Correct the number.") from error
    return Rules(every=every, labels=labels)


def _value(mask: Volume, label: str) -> int:
    if label.isdigit() and int(label) > 0:
        return int(label)
    values = {one.name: value for value, one in mask.labels.items()}
    if label not in values:
        where = mask.source.path.name if mask.source is not None else "The mask"
        known = f"Its labels are called {', '.join(values)}." if values else "It has no names: give the value."
        raise ConfigError(f"{where} has no label {label!r}.", known)
    return values[label]


def _stored(model: Path) -> Rules:
    from napari_seg3d.inference.postprocess import rules_beside, rules_file
    from napari_seg3d.training import Run

    model = Run(model).best if (model / "run.yaml").exists() else model
    found = rules_beside(model)
    if found is None:
        raise ConfigError(f"{rules_file(model)} does not exist.", "Choose rules first: napari-seg3d postprocess --choose RUN.")
    return found


def _choose(folder: Path, device: str, overwrite: bool) -> None:
    if not (folder / "run.yaml").exists():
        raise ConfigError(f"{folder} is no run folder, so it has no validation cases.", "Give the folder of a run.")
    from napari_seg3d.inference import Predictor
    from napari_seg3d.inference.postprocess import rules_file, save_rules
    from napari_seg3d.inference.postprocess.storage import check_free
    from napari_seg3d.training import Run
    from napari_seg3d.training.judging.rules import rules_of_run

    run = Run(folder)
    file = rules_file(run.best)
    check_free(file, overwrite)  # before the predictions, which take long
    predictor = Predictor.load(run.best, device)
    with progress_bar() as bar:
        choice = rules_of_run(run, predictor, teller(bar, "Predicting the validation cases"))
    table = names_table("label", "rule", "cases", "Dice before", "Dice after")
    for effect in choice.effects:
        table.add_row(escape(effect.name), effect.rule.in_words, str(effect.cases), f"{effect.before:.4f}", f"{effect.after:.4f}")
    CONSOLE.print(table)
    save_rules(file, choice.rules, predictor.stored_labels, made_for=predictor.fingerprint, overwrite=overwrite)
    found = "No rule raises a mean Dice, which is written" if choice.rules.is_empty else "The rules are written"
    CONSOLE.print(f"{found} to [bold]{escape(str(file))}[/].", highlight=False, soft_wrap=True)
