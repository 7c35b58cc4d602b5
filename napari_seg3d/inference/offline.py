"""OpenVINO without its telemetry: nothing leaves this machine."""

from __future__ import annotations

import sys
from types import ModuleType

from napari_seg3d.errors import ConfigError


def import_openvino() -> ModuleType:
    """Return the module openvino.

    Imported as it is, it gives this machine a number and tells Google Analytics about every conversion, unless somebody has told it not
    to; without the package that does so, it works in silence.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # to Python, None stands for: cannot be imported
    try:
        import openvino
    except ImportError as error:
        raise ConfigError("OpenVINO is not installed.", 'Install it with pip install "napari-seg3d[cpu]".') from error
    return openvino  # type: ignore[no-any-return]
