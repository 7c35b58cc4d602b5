"""What is done once, before the first step."""

from __future__ import annotations

import json
import os
import platform
import random
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import napari_seg3d
from napari_seg3d.files import write_text
from napari_seg3d.training.config import OptimizationConfig
from napari_seg3d.training.learning.speed import Layout
from napari_seg3d.training.plan import Plan
from napari_seg3d.training.runs.folder import Run

if TYPE_CHECKING:
    import torch


def seed(wishes: OptimizationConfig, accelerator: str) -> None:
    """Start all random numbers, and let torch compute the same to the last bit where that is asked for."""
    import torch

    torch.manual_seed(wishes.seed)
    np.random.seed(wishes.seed % 2**32)  # noqa: NPY002  torchio and MONAI draw from it
    random.seed(wishes.seed)
    if wishes.deterministic:
        # cuBLAS needs it; and some 3D operations have no deterministic form on GPUs, which warn instead of ending the run.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=accelerator != "cpu")
    # All samples have one size: trying the kernels once pays.
    torch.backends.cudnn.benchmark = accelerator == "cuda" and not wishes.deterministic


def start_from(run: Run, path: Path, network: torch.nn.Module) -> None:
    """Give a network the weights of an earlier model, and say which of them it takes.

    Raises
    ------
    ModelError
        The file is no model.
    """
    from napari_seg3d.inference import load_model
    from napari_seg3d.networks import load_pretrained

    transferred = load_pretrained(network, load_model(path).weights)
    run.add_event("warning", message=f"The training starts from {path.name}. {transferred.message}", fix="")


def save_environment(run: Run, plan: Plan, layout: Layout) -> None:
    """Write down with which versions, on what, and how a run computes."""
    import lightning_fabric
    import monai
    import torch
    import torchio

    versions = {module.__name__: module.__version__ for module in (napari_seg3d, torch, torchio, monai, lightning_fabric, np)}
    content = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions,
        **asdict(layout),
        **plan.as_event(),
    }
    write_text(run.folder / "environment.json", json.dumps(content, indent=2) + "\n")
