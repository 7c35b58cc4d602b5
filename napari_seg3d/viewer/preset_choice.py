"""From one preset to another, without leftovers of the first."""

from __future__ import annotations

from napari_seg3d.training import TrainConfig
from napari_seg3d.training.presets import preset_settings

#: No preset: everything by the data and the device.
AUTO = "auto"


def with_choice(config: TrainConfig, name: str, before: str | None = None) -> TrainConfig:
    """Return the config with another preset, or `AUTO`.

    What is the user's own (data, record, device, budget, seed) stays, unless the preset before had set it and nobody touched it since.

    Raises
    ------
    ConfigError
        There is no preset of this name.
    """
    if before not in (None, AUTO):
        values, defaults = config.to_dict(), TrainConfig.parse({"data": {"images": config.data.images}}).to_dict()
        left = {}
        for dotted, value in preset_settings(before).items():
            section, setting = dotted.split(".")
            if values[section][setting] == value:
                left[dotted] = defaults[section][setting]
        config = config.with_values(left)
    return config.with_defaults() if name == AUTO else config.with_preset(name)
