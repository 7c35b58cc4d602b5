"""Which device and which precision `auto` means."""

from __future__ import annotations

import platform
from typing import Literal, cast

import psutil

from napari_seg3d.errors import ConfigError

Accelerator = Literal["cpu", "cuda", "mps"]
Precision = Literal["32", "bf16", "16"]

_WORDS_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")


def choose_accelerator(wish: str = "auto") -> Accelerator:
    """Return the accelerator to use; a ConfigError says when the wished one is not there."""
    import torch

    there: dict[Accelerator, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": _mps_computes_in_3d(),
        "cpu": True,
    }
    if wish == "auto":
        return next(name for name, found in there.items() if found)
    for name, found in there.items():
        if name == wish and found:
            return name
    raise ConfigError(f"The device {wish!r} is not there on this machine.", "Choose auto, or install a torch that supports it.")


def _mps_computes_in_3d() -> bool:
    # Whether Apple's backend has the 3D transposed convolution depends on the versions of torch and of the system.
    import torch

    if not torch.backends.mps.is_available():
        return False
    try:
        image = torch.zeros(1, 1, 4, 4, 4, device="mps", requires_grad=True)
        torch.nn.functional.conv_transpose3d(image, torch.zeros(1, 1, 2, 2, 2, device="mps"), stride=2).sum().backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, NotImplementedError):
        return False
    return True


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch or Python says that there is no memory left."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS_OF_MEMORY)


def choose_precision(accelerator: Accelerator, wish: str = "auto") -> Precision:
    """Return bf16 where the hardware computes in it, 16 bit on older GPUs, else 32 bit; a wish is followed where it can be."""
    import torch

    if wish == "16" and accelerator == "cpu":
        raise ConfigError("No CPU computes in 16 bit fast enough to be of use.", "Choose auto, bf16 or 32.")
    if wish in ("32", "bf16", "16"):
        return cast("Precision", wish)
    if wish != "auto":
        raise ConfigError(f"There is no precision {wish!r}.", "Choose auto, 32, bf16 or 16.")
    if accelerator == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "16"
    if accelerator == "cpu":
        # AMX multiplies bf16 several times as fast as 32 bit. AVX512-BF16 does it no faster, and copies on top; anything else emulates it.
        return "bf16" if torch.cpu._is_amx_tile_supported() else "32"
    return "32"


def device_name(accelerator: Accelerator) -> str:
    """Return what a person calls the device."""
    import torch

    if accelerator == "cuda":
        return str(torch.cuda.get_device_name())
    if accelerator == "mps":
        return f"{platform.processor() or 'Apple'} GPU"
    return f"CPU, {torch.get_num_threads()} threads"


def free_memory(accelerator: str) -> int:
    """Return how many bytes the device has free."""
    import torch

    if accelerator == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    # Apple's GPUs share the memory of the machine.
    return int(psutil.virtual_memory().available)
