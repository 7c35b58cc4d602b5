"""How much a model gets better when corrected cases join it in rounds, and whether it matters which cases a person corrects.

Of a data set with masks, a model learns from a few cases (10). Then, in two rounds, cases (10 each) are taken from a pool that nobody has
drawn in, and get their true masks, as if a person had corrected what the model said; the model learns on with them. Which cases these
are is decided by how unsure the model is (`uncertainty`), or at random. Both ways begin with the same model. Dice is that on a test set
that is frozen before anything begins. All of it is repeated with other cases.

    python benchmarks/learning.py Task04_Hippocampus --minutes 5 --round-minutes 2.5 --seeds 0 1 2 --add figures.json
    python benchmarks/learning.py Task04_Hippocampus --figure docs/images/learning.svg --add figures.json --only-draw

`fresh` trains anew on all cases of the random order for as long as all of its trainings together took: what going on from a model is worth.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_seg3d.datasets import (
    Case,
    Dataset,
    StoredSplit,
    check_dataset,
    freeze_test,
    load_dataset,
    open_dataset,
    read_case_mask,
    save_dataset,
)
from napari_seg3d.review import Worklist, keep_mask
from napari_seg3d.training import Run, TrainConfig, start_run
from napari_seg3d.training.rounds import Rounds, finish_round, judge_round, make_round, predict_waiting, start_round


@dataclass(frozen=True)
class Draw:
    """Who is what, for one seed."""

    train: list[str]
    validation: list[str]
    test: list[str]
    pool: list[str]


def draw(dataset: Dataset, seed: int, options: argparse.Namespace) -> Draw:
    """Deal out whole subjects until each set has as many cases as were asked for, or one more."""
    subjects: dict[str, list[str]] = {}
    for case in dataset.pairs:
        subjects.setdefault(case.subject, []).append(case.id)
    left = [list(subjects.values())[place] for place in np.random.default_rng(seed).permutation(len(subjects))]
    sets: list[list[str]] = []
    for size in (options.cases, options.validation, options.test, options.pool):
        sets.append([])
        while len(sets[-1]) < size:
            if not left:
                raise SystemExit(f"{len(dataset.pairs)} cases are fewer than are asked for.")
            sets[-1] += left.pop()
    return Draw(*sets)


def store(dataset: Dataset, who: Draw, folder: Path) -> Dataset:
    """Write a data set in which the pool has no masks and the test set is frozen."""
    cases = [
        replace(case, mask=None, parts=()) if case.id in who.pool else case
        for case in dataset.cases
        if case.id in {*who.train, *who.validation, *who.test, *who.pool}
    ]
    sets = dict.fromkeys(who.train, "train") | dict.fromkeys(who.validation, "validation")
    split = freeze_test(StoredSplit("lists", sets=sets, test=tuple(who.test)), cases)  # type: ignore[arg-type]
    save_dataset(replace(dataset, cases=tuple(cases), split=split, excluded={}, unused_masks=()), folder)
    return load_dataset(folder)


def wait_for(run: Run) -> None:
    while not (status := run.status()).ended:
        time.sleep(0.5)
    if status.state != "finished":
        raise SystemExit(f"{status.message}\n{run.log.read_text()}")


def dice_of(run: Run, judges: list[Case]) -> float:
    return judge_round(run, run, judges, with_surfaces=False).mean_after


def go_through(
    way: str, seed: int, first: Run, stored: Dataset, truth: Dataset, scratch: Path, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Do the rounds in one order; return what each gave."""
    worklist = Worklist(stored, "benchmark", scratch / f"review-{way}")
    rounds = Rounds(worklist)
    random = np.random.default_rng((seed, 1))
    number, run = 0, first
    found: list[dict[str, Any]] = []
    for turn in range(1, options.rounds + 1):
        if way == "uncertainty":
            predict_waiting(worklist, number, run)
        chosen: list[str] = []
        left = sorted(entry.case.id for entry in worklist.entries if entry.case.mask is None and entry.state != "approved")
        while len(chosen) < options.each:
            by_model = worklist.next_case("uncertainty") if way == "uncertainty" else None
            name = by_model.case.id if by_model is not None else left.pop(int(random.integers(len(left))))
            keep_mask(worklist, name, read_case_mask(truth.case(name), merged=truth.merged), "correction")
            worklist.set_state(name, "approved")
            chosen.append(name)
        planned = make_round(worklist, run, origin=rounds.origin_of(run), minutes=options.round_minutes)
        record = start_round(worklist, planned, scratch / f"run-{way}-{turn}")
        wait_for(record.run)
        done = finish_round(worklist, record, with_surfaces=False)
        current = rounds.current
        assert done.comparison is not None
        assert current is not None
        number, run = current
        found.append(
            {
                "round": turn,
                "chosen": chosen,
                "before": round(done.comparison.mean_before, 5),
                "after": round(done.comparison.mean_after, 5),
                "kept": done.is_kept,
            }
        )
        print(
            f"seed {seed}, {way}, round {turn}: {found[-1]['before']:.4f} -> {found[-1]['after']:.4f}, kept: {done.is_kept}",
            flush=True,
        )
    return found


def one_seed(dataset: Dataset, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    who = draw(dataset, seed, options)
    settings = {name: json.loads(value) for name, _, value in (each.partition("=") for each in options.set)}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        stored = store(dataset, who, scratch / "data")
        config = TrainConfig.parse({"data": {"images": str(scratch / "data")}}).with_values(
            {"optimization.minutes": options.minutes, "optimization.seed": seed, **settings}
        )
        first = start_run(config, scratch / "first")
        wait_for(first)
        judges = [stored.case(name) for name in who.test]
        figure: dict[str, Any] = {
            "seed": seed,
            "cases": options.cases,
            "each": options.each,
            "test": len(judges),
            "minutes": options.minutes,
            "round_minutes": options.round_minutes,
            "first": round(dice_of(first, judges), 5),
        }
        print(f"seed {seed}: {options.cases} cases give {figure['first']:.4f} on {len(judges)} of the test set", flush=True)
        for way in options.orders:
            figure[way] = go_through(way, seed, first, stored, dataset, scratch, options)
        if options.fresh:
            figure["fresh"] = round(fresh(config, dataset, who, figure["random"], judges, scratch, options), 5)
            print(f"seed {seed}: anew from all cases of the random order {figure['fresh']:.4f}", flush=True)
    return figure


def fresh(
    config: TrainConfig,
    dataset: Dataset,
    who: Draw,
    turns: list[dict[str, Any]],
    judges: list[Case],
    scratch: Path,
    options: argparse.Namespace,
) -> float:
    """Train anew, without rounds, on all cases that the rounds in random order had at their end, for as long as they took together."""
    added = [name for turn in turns for name in turn["chosen"]]
    everybody = replace(who, train=[*who.train, *added], pool=[name for name in who.pool if name not in added])
    store(dataset, everybody, scratch / "fresh")
    minutes = options.minutes + options.rounds * options.round_minutes
    run = start_run(
        config.with_values({"data.images": str(scratch / "fresh"), "optimization.minutes": minutes}), scratch / "run-fresh"
    )
    wait_for(run)
    return dice_of(run, judges)


def table(figures: list[dict[str, Any]], orders: list[str]) -> str:
    """Return the figures as Markdown, with the mean over the seeds."""
    count = len(figures[0][orders[0]])
    lines = ["| order | first model | " + " | ".join(f"after round {turn}" for turn in range(1, count + 1)) + " |"]
    lines.append("| --- |" + " --- |" * (count + 1))
    for way in orders:
        dice = np.array([[figure["first"], *(turn["after"] for turn in figure[way])] for figure in figures])
        cells = [
            f"{mean:.4f} ({low:.4f} to {high:.4f})"
            for mean, low, high in zip(dice.mean(0), dice.min(0), dice.max(0), strict=True)
        ]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def paint(figures: list[dict[str, Any]], orders: list[str], path: Path) -> None:
    """Draw the Dice over the number of cases, a thin line for each seed and a thick one for the mean."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "napari-seg3d", "font.family": "sans-serif"})
    drawing, axes = plt.subplots(figsize=(6.4, 3.8), constrained_layout=True)
    for place, way in enumerate(orders):
        dice = np.array([[figure["first"], *(turn["after"] for turn in figure[way])] for figure in figures])
        counts = [figures[0]["cases"] + turn * figures[0]["each"] for turn in range(dice.shape[1])]
        for row in dice:
            axes.plot(counts, row, color=f"C{place}", alpha=0.3, linewidth=1)
        axes.plot(counts, dice.mean(0), color=f"C{place}", marker="o", linewidth=2, label=f"next case by {way}")
    axes.set(xlabel="cases that taught", ylabel="mean Dice on the frozen test set")
    axes.set_xticks(counts)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")
    drawing.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0, help="of the first training")
    parser.add_argument("--round-minutes", type=float, default=2.5, help="of the training of each round")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--orders", nargs="+", choices=("uncertainty", "random"), default=["uncertainty", "random"])
    parser.add_argument("--cases", type=int, default=10, help="that the first model learns from")
    parser.add_argument("--validation", type=int, default=5)
    parser.add_argument("--test", type=int, default=40)
    parser.add_argument("--pool", type=int, default=80, help="cases without masks, from which the next ones are taken")
    parser.add_argument("--each", type=int, default=10, help="cases that join in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--fresh", action="store_true", help="train anew on all cases of the random order, too")
    parser.add_argument("--set", nargs="*", default=[], metavar="SETTING=VALUE", help="further settings of the first training")
    parser.add_argument("--add", type=Path, help="a JSON file that collects the figures, a seed each")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--only-draw", action="store_true", help="train nothing; table and figure of what --add holds")
    options = parser.parse_args()

    figures = json.loads(options.add.read_text()) if options.add is not None and options.add.exists() else []
    dataset = check_dataset(open_dataset(options.data)).dataset
    for seed in () if options.only_draw else options.seeds:
        figures.append(one_seed(dataset, seed, options))
        if options.add is not None:
            options.add.write_text(json.dumps(figures, indent=1))
    print(table(figures, options.orders))
    if options.figure is not None:
        paint(figures, options.orders, options.figure)


if __name__ == "__main__":
    main()
