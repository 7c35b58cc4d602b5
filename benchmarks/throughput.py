"""Samples per second against the plain torchio tutorial loop, with the same network on the same data, in one run.

The plain loop is the one of TorchIO's tutorial on whole volumes: a data set of files, all transforms on every scan anew, torch's loader with
a process for each core, 32 bit, SGD, Dice. Ours is that of a training run: cases prepared once, samples cut from them and augmented by the
same steps, precision and memory layout as planned for the device. Both are measured after they are warm, one after the other, twice;
the better one of each counts.

    python benchmarks/throughput.py                                 # the phantoms of this project, the default network
    python benchmarks/throughput.py --network torchio-unet --seconds 120
    python benchmarks/throughput.py --dataset FOLDER --augmentation default
    python benchmarks/throughput.py --data                          # how fast the data alone is made
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torchio

from napari_seg3d.datasets import Case, check_dataset, open_dataset
from napari_seg3d.networks import build_network, network_info
from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.training import TrainConfig
from napari_seg3d.training.learning.learner import Learner
from napari_seg3d.training.learning.speed import choose_layout
from napari_seg3d.training.plan import Plan, plan_for
from napari_seg3d.training.processes import Processes
from napari_seg3d.training.runs.starting import ENVIRONMENT
from napari_seg3d.training.samples.cache import prepare
from napari_seg3d.training.samples.loader import Batches, make_loader
from napari_seg3d.training.samples.sampling import make_sampler
from napari_seg3d.transforms import Pipeline, load_preset

_WARM_STEPS = 3


@dataclass(frozen=True)
class Speed:
    """How fast a loop was."""

    samples_per_second: float
    wait_share: float


def tutorial_batches(cases: list[Case], plan: Plan) -> Iterator[dict[str, dict[str, torch.Tensor]]]:
    """Yield batches as the tutorial makes them."""
    recipe = load_preset("torchio-unet3d")
    augmentation = plan.augmentation or Pipeline(())
    transform = torchio.Compose([recipe.preprocessing.to_torchio(), augmentation.to_torchio()])
    subjects = [torchio.Subject(image=torchio.ScalarImage(case.images[0]), mask=torchio.LabelMap(case.mask)) for case in cases]
    loader = torchio.SubjectsLoader(
        torchio.SubjectsDataset(subjects, transform=transform),
        batch_size=plan.batch_size,
        shuffle=True,
        drop_last=len(cases) >= plan.batch_size,
        num_workers=os.cpu_count() or 1,
        # The tutorial forks its workers, which hangs once this process has computed with many threads.
        multiprocessing_context="spawn",
        persistent_workers=True,
    )
    while True:
        yield from loader


def plain(cases: list[Case], plan: Plan, seconds: float, learns: bool) -> Speed:
    """Return the speed of the loop of the tutorial, or of its data alone."""
    device = torch.device(plan.accelerator)
    # As its library builds it, in the layout that torch gives it.
    network = network_info(plan.spec.network.name).build(plan.spec.network).to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    values = torch.tensor(sorted(plan.spec.labels), device=device)
    batches = tutorial_batches(cases, plan)
    step, done, waited, start = 0, 0, 0.0, 0.0
    while step <= _WARM_STEPS or time.perf_counter() - start <= seconds:
        if step == _WARM_STEPS:
            done, waited, start = 0, 0.0, time.perf_counter()
        step += 1
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        image, mask = batch["image"]["data"].to(device), batch["mask"]["data"].to(device)
        done += len(image)
        if not learns:
            continue
        target = torch.cat([~torch.isin(mask, values), *(mask == value for value in values)], dim=1).float()
        optimizer.zero_grad()
        answer = network(image)
        probabilities = (answer[0] if isinstance(answer, list) else answer).softmax(dim=1)
        over = tuple(range(2, probabilities.ndim))
        dice = 2 * (probabilities * target).sum(over) / (probabilities.sum(over) + target.sum(over)).clamp(min=1e-5)
        loss = (1 - dice).mean()
        loss.backward()
        optimizer.step()
        loss.item()
    passed = time.perf_counter() - start
    return Speed(done / passed, waited / passed)


def ours(cases: list[Case], plan: Plan, config: TrainConfig, seconds: float, learns: bool) -> Speed:
    """Return the speed of a training run, or of its data alone."""
    cached = prepare(cases, Pipeline.from_list(plan.spec.pipeline), plan.spec.labels)
    processes = Processes(config.device, plan.accelerator, plan.precision)
    network = build_network(plan.spec.network).to(processes.fabric.device)
    shape = (plan.batch_size, plan.spec.network.in_channels, *plan.sides)
    layout = choose_layout(config.device, False, seconds, network, shape, processes.fabric)
    learner = Learner(plan, config.optimization, network, processes, layout)
    sampler = make_sampler(
        cached, plan.spec, config, batch_size=plan.batch_size, spacing=plan.spacing, augmentation=plan.augmentation
    )
    on_device = plan.augment_on == "device"
    loader = make_loader(sampler, plan.batch_size, plan.workers, pinned=plan.accelerator == "cuda", augmented=not on_device)
    batches = Batches(loader, processes.fabric.device if on_device else None)
    network.train()
    steps, start = 0, 0.0
    while steps <= _WARM_STEPS or time.perf_counter() - start <= seconds:
        if steps == _WARM_STEPS:
            batches.reset()
            start = time.perf_counter()
        steps += 1
        if learns:
            learner.step(batches, 0.5)
        else:
            next(batches)
    steps -= _WARM_STEPS
    speed = Speed(steps * plan.batch_size / (time.perf_counter() - start), batches.wait_share)
    batches.close()
    return speed


def measured(name: str) -> Speed:
    """Run this script anew for one of both loops: neither then meets what the other has left behind."""
    command = [sys.executable, "-W", "ignore", *sys.argv, "--only", name]
    environment = {**ENVIRONMENT, **os.environ} if name == "ours" else None
    child = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    for line in child.stdout.splitlines():
        if line.startswith("{"):
            return Speed(**json.loads(line))
    raise SystemExit(child.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=dataset_folder("abdomen"), help="a folder with scans and masks")
    parser.add_argument("--network", default="dynunet", help="a network of the zoo")
    parser.add_argument("--augmentation", default="torchio-unet3d", help="the preset of transforms whose random steps both run")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each loop is measured")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is measured")
    parser.add_argument("--data", action="store_true", help="measure the data alone, without a network")
    parser.add_argument("--only", choices=("plain", "ours"), help="measure one of them, and print it as JSON")
    options = parser.parse_args()

    os.environ.setdefault("NAPARI_SEG3D_HOME", tempfile.mkdtemp())
    config = TrainConfig.parse({"data": {"images": str(options.dataset)}}).with_values(
        {
            "transforms.preprocessing": load_preset("torchio-unet3d").preprocessing.to_list(),
            "transforms.augmentation": load_preset(options.augmentation).augmentation.to_list(),
            "sampling.mode": "whole",
            "sampling.patch_size": [64, 64, 48],
            "targets.kind": "exclusive",
            "network.name": options.network,
            "optimization.batch_size": 4,
        }
    )
    report = check_dataset(open_dataset(options.dataset))
    cases = list(report.sound)
    plan = plan_for(config, report, [case.id for case in cases])
    if options.only == "plain":
        print(json.dumps(asdict(plain(cases, plan, options.seconds, not options.data))), flush=True)
        return
    if options.only == "ours":
        print(json.dumps(asdict(ours(cases, plan, config, options.seconds, not options.data))), flush=True)
        return

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    what = "no network" if options.data else f"{options.network} with {plan.parameters:,} weights"
    print(f"{len(cases)} scans, {what}, batches of {plan.batch_size} x 64 x 64 x 48", flush=True)
    found: dict[str, list[Speed]] = {"plain": [], "ours": []}
    for _ in range(options.rounds):
        for name, speeds in found.items():
            speeds.append(measured(name))
    best = {name: max(speeds, key=lambda speed: speed.samples_per_second) for name, speeds in found.items()}
    for name, speed in best.items():
        precision = "32" if name == "plain" else plan.precision
        waits = "" if options.data else f"  waits {speed.wait_share:5.1%} of the time for data"
        print(f"{name:6} {precision:>5}  {speed.samples_per_second:7.2f} samples/s{waits}")
    print(f"ratio {best['ours'].samples_per_second / best['plain'].samples_per_second:.2f}")


if __name__ == "__main__":
    main()
