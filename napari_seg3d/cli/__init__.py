"""``napari-seg3d …``: the same work as the docks, from the same files, without a window."""

from __future__ import annotations

import sys

from rich.markup import escape

from napari_seg3d.cli.app import ERRORS, app
from napari_seg3d.cli.calibration import calibrate
from napari_seg3d.cli.data import check, evaluate
from napari_seg3d.cli.dataset import export, import_
from napari_seg3d.cli.files import convert, deidentify, series
from napari_seg3d.cli.learning import learn
from napari_seg3d.cli.models import export_model
from napari_seg3d.cli.postprocess import postprocess
from napari_seg3d.cli.prediction import predict
from napari_seg3d.cli.presets import presets
from napari_seg3d.cli.review import review
from napari_seg3d.cli.runs import runs
from napari_seg3d.cli.split import split
from napari_seg3d.cli.summary import summary
from napari_seg3d.cli.training import demo, train
from napari_seg3d.cli.transforms import transforms
from napari_seg3d.errors import Seg3dError

__all__ = ["app", "main"]

# In the order of the way that scans take.
for _command, _examples in (
    (
        import_,
        [
            "import LUNA16",
            "import scans --masks masks --pair scans/a.nii.gz=masks/other.nii.gz --out dataset.yaml",
            "import list.csv",
        ],
    ),
    (check, ["check Task04_Hippocampus"]),
    (
        split,
        [
            "split scans --test 0.1 --freeze",
            "split dataset.yaml --method folds --folds 5",
            "split dataset.yaml --lists splits_final.json",
            "split dataset.yaml --show",
        ],
    ),
    (
        train,
        [
            "train Task04_Hippocampus",
            "train scans --masks masks --minutes 30 --set sampling.patch_size='[[64, 64, 64]'",
            "train --config run.yaml",
            "train Task09_Spleen --preset vnet --explain",
            "train --resume RUN",
            "train scans --transforms steps.yaml",
        ],
    ),
    (presets, ["presets", "presets vnet"]),
    (runs, ["runs", "runs /data/trainings", "runs --pause RUN", "runs --go-on RUN"]),
    (summary, ["summary vnet", "summary torchio-unet3d", "summary run.yaml", "summary dynunet --dims 2 --sides 512x512"]),
    (transforms, ["transforms", "transforms RandomAffine", "transforms --preset vnet > steps.yaml"]),
    (
        predict,
        [
            "predict RUN scans --out predictions",
            "predict best.pt series-folder --out predictions --format .dcm",
            "predict RUN --validation --out predictions",
            "predict RUN scans --dask local",
        ],
    ),
    (
        postprocess,
        [
            "postprocess predictions --largest all --holes --out cleaned",
            "postprocess mask.nii.gz --largest liver --min-ml 0.5 --closing-mm 2",
            "postprocess --choose RUN",
            "postprocess predictions --rules RUN",
        ],
    ),
    (calibrate, ["calibrate RUN"]),
    (
        export_model,
        [
            "export-model RUN --out spleen.pt",
            "export-model best.pt --format onnx --out spleen",
            "export-model RUN --format openvino --out spleen",
        ],
    ),
    (
        evaluate,
        [
            "evaluate predictions labelsTr --csv numbers.csv",
            "evaluate predictions labelsTr --html page.html --images imagesTr --tolerance 2",
        ],
    ),
    (
        review,
        [
            "review dataset.yaml --order uncertainty",
            "review scans --predictions predictions --measure",
            "review dataset.yaml --set spleen_12=approved --set spleen_13=flagged",
            "review dataset.yaml --readers anna,ben",
            "review dataset.yaml --agreement",
        ],
    ),
    (
        learn,
        [
            "learn dataset.yaml --run RUN",
            "learn dataset.yaml --minutes 5",
            "learn dataset.yaml --list",
            "learn dataset.yaml --use 0",
        ],
    ),
    (series, ["series hospital-export"]),
    (
        convert,
        [
            "convert series-folder scan.nii.gz",
            "convert disc tilted.nii.gz --series 3 --resample-irregular",
            "convert mask.nii.gz mask.dcm --on series-folder",
        ],
    ),
    (export, ["export dataset.yaml --nnunet nnUNet_raw --id 7 --name Liver"]),
    (deidentify, ["deidentify hospital-export --out shared"]),
    (demo, ["demo --minutes 1"]),
):
    _shown = " · ".join(f"[bold]napari-seg3d {example}[/]" for example in _examples)
    app.command(
        _command.__name__.rstrip("_").replace("_", "-"), epilog=f"{'Example' if len(_examples) == 1 else 'Examples'}: {_shown}"
    )(_command)


def main() -> None:
    """Run the command line; an error for the user ends with its words and exit status 1, never with a traceback."""
    try:
        app()
    except Seg3dError as error:
        ERRORS.print(f"[bold red]Error:[/] {escape(error.what)}", highlight=False)
        if error.fix:
            ERRORS.print(escape(error.fix), highlight=False)
        sys.exit(1)
