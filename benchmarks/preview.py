"""How soon the preview answers a slider: for each transform, from the move to the updated layer, on a block of 64 x 64 x 64 voxels.

The Transforms dock is open in a real window; the step stands alone in its list, after preprocessing that is done already. Each time is the
median of several moves, and includes the pause before a preview begins, the job, and the new voxels in the views.

    python benchmarks/preview.py            # needs a display; on a headless Linux: scripts/with_display.sh python benchmarks/preview.py
"""

from __future__ import annotations

import argparse
import os
import platform
import time

import napari
import numpy as np
from napari.layers import Layer
from qtpy.QtCore import QEventLoop, QTimer

from napari_seg3d.errors import ConfigError
from napari_seg3d.transforms import Pipeline, Step, catalogue, check_augmentation
from napari_seg3d.viewer.layers import layer_data
from napari_seg3d.viewer.session import session_of
from napari_seg3d.viewer.transforms_model import TransformsModel
from napari_seg3d.volumes import Volume

_SHAPE = (160, 160, 120)
_LIMIT_MS = 300
# Those whose defaults do nothing, or nothing that can be seen.
_PARAMETERS = {
    "Affine": {"degrees": [10, 0, 0]},
    "Blur": {"std": 1.0},
    "Clamp": {"out_min": 0.0},
    "Pad": {"padding": 4},
    "Crop": {"cropping": 4},
    "RemapLabels": {"remapping": {2: 1}},
    "RemoveLabels": {"labels": [2]},
}
_ONE_LABEL = ("Contour", "KeepLargestComponent")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=9, help="how many times each slider is moved")
    parser.add_argument("--only", default="", help="names of transforms, with commas between")
    options = parser.parse_args()
    viewer = napari.Viewer(title="preview")
    viewer.window.resize(1366, 768)
    _open_case(viewer)
    dock = viewer.window.add_plugin_dock_widget("napari-seg3d", "Transforms")[1]
    model = session_of(viewer).transforms
    model.look(samples=0, edge=64)
    model.start(viewer.window._qt_window)
    _settle(model)

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, napari {napari.__version__}")
    print(f"{'transform':32}{'list':15}{'median':>8}{'worst':>8}  ms, of which the step itself")
    slow = []
    wanted = [name for name in options.only.split(",") if name] or list(catalogue())
    for name in wanted:
        times, step_ms, kind = _measure(model, name, options.moves)
        if times is None:
            print(f"{name:32}{kind:15}{'':>8}{'':>8}  {step_ms}")
            continue
        print(f"{name:32}{kind:15}{np.median(times):8.0f}{max(times):8.0f}  {step_ms:.0f}", flush=True)
        if np.median(times) > _LIMIT_MS:
            slow.append(name)
    print(f"above {_LIMIT_MS} ms: {', '.join(slow) or 'none'}")
    dock.close()
    viewer.close()


def _open_case(viewer: napari.Viewer) -> None:
    random = np.random.default_rng(0)
    mask = np.zeros((1, *_SHAPE), np.uint8)
    mask[0, 60:100, 60:100, 40:80] = 1
    mask[0, 70:90, 70:90, 50:70] = 2
    image = (random.normal(100, 10, mask.shape) + 60 * mask).astype(np.float32)
    for one in (*layer_data(Volume(image, np.eye(4)), "scan"), *layer_data(Volume(mask, np.eye(4), "labels"), "mask")):
        viewer.add_layer(Layer.create(*one))
    viewer.dims.point = (60.0, 80.0, 80.0)


def _measure(model: TransformsModel, name: str, moves: int) -> tuple[list[float] | None, float | str, str]:
    parameters = _PARAMETERS.get(name, {})
    steps = (Step("RemapLabels", {"remapping": {2: 1}}),) if name in _ONE_LABEL else ()
    try:
        check_augmentation(Pipeline((Step(name, parameters),)))
        kind = "augmentation"
    except ConfigError:
        kind = "preprocessing"
    model.recipe.set_steps("augmentation", ())
    model.recipe.set_steps("preprocessing", (Step("ToCanonical"),))
    model.look(kind=kind, row=-1)
    model.recipe.set_steps(kind, (*steps, Step(name, parameters)))
    _settle(model)
    times, own = [], []
    for move in range(moves + 1):
        before = model.compared
        began = time.perf_counter()
        if kind == "augmentation":
            model.look(seed=1000 + move)
        else:
            model.recipe.set_steps(kind, (*steps, Step(name, parameters), *[Step("ToCanonical")] * ((move + 1) % 2)))
        _settle(model)
        if model.error is not None or model.compared is None or model.compared is before:
            return None, str(model.error.what if model.error else "nothing came"), kind
        times.append(1000 * (time.perf_counter() - began))
        own.append(1000 * max((timing.seconds for timing in model.compared.timings), default=0.0))
    return times[1:], float(np.median(own[1:])), kind  # the first one imports what it needs


def _settle(model: TransformsModel) -> None:
    """Let the window live until the preview is there and drawn."""
    loop = QEventLoop()

    def look() -> None:
        if model.is_settled:
            loop.quit()

    model.changed.connect(look)
    QTimer.singleShot(0, look)
    QTimer.singleShot(30_000, loop.quit)
    loop.exec()
    model.changed.disconnect(look)


if __name__ == "__main__":
    main()
