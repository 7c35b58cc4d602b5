"""``learn``: a round of learning from the cases that were approved, both models case by case, and back to an earlier one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from napari_seg3d.cli.app import CONSOLE, Folder, Masks, names_table, print_problems, progress_bar, teller
from napari_seg3d.cli.runs import find_run
from napari_seg3d.cli.watching import watch_run
from napari_seg3d.errors import ConfigError

if TYPE_CHECKING:
    from napari_seg3d.review import Worklist
    from napari_seg3d.training import Run
    from napari_seg3d.training.rounds import Comparison, RoundRecord, Rounds


def learn(
    dataset: Folder,
    masks: Masks = None,
    run: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="The training to go on from (folder or name); left out, that of the current model."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="How long to train; left out, by the first training and the number of cases.")
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(help="Which part of what the network is shown is new, 0 to 1; left out, half or a little less."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder to make; left out, a dated one below ~/napari-seg3d/runs.")
    ] = None,
    who: Annotated[str, typer.Option(help="The reviewer; left out, what the operating system calls you.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="Show the rounds so far, and which model is the current one.")] = False,
    use: Annotated[
        int | None,
        typer.Option(metavar="ROUND", help="Make the model of a round the current one again; 0: that from before all."),
    ] = None,
    finish: Annotated[
        bool, typer.Option(help="Judge rounds whose training has ended since, such as one that was begun in the viewer.")
    ] = False,
    predict: Annotated[
        bool,
        typer.Option(help="Predict the cases that are not approved with the current model, and note how unsure it is of each."),
    ] = True,
) -> None:
    """Learn from the cases that were approved in the review of a data set, and keep the better model.

    Trains on from a model with the approved cases and with those that it learnt from before, judges it and the model before on the
    same cases (the frozen test set, if there is one), and keeps the better one; the other stays and can be brought back with --use.
    """
    from napari_seg3d.review import Worklist
    from napari_seg3d.training.rounds import Rounds, finish_round, use_round

    worklist = Worklist.open(dataset, masks, who=who)
    rounds = Rounds(worklist)
    if list_:
        _show_rounds(rounds)
        return
    if use is not None:
        used = use_round(worklist, use)
        CONSOLE.print(f"The current model is that of {escape(used.name)}.", highlight=False, soft_wrap=True)
    elif finish:
        open_ones = [record for record in rounds.records if record.comparison is None and record.run.status().ended]
        for record in open_ones:
            with progress_bar() as bar:
                _show_judged(finish_round(worklist, record, progress=teller(bar, "Judging both models")))
        if not open_ones:
            CONSOLE.print("Every round whose training has ended was judged.")
    else:
        _learn(worklist, run, minutes, share, out)
    if predict:
        _predict(worklist)


def _learn(worklist: Worklist, name: str | None, minutes: float | None, share: float | None, out: Path | None) -> None:
    from napari_seg3d.training.rounds import Rounds, finish_round, make_round, start_round

    rounds = Rounds(worklist)
    begun = _beginning(worklist, name)
    planned = make_round(worklist, begun, origin=rounds.origin_of(begun), share=share, minutes=minutes)
    CONSOLE.print(escape(planned.in_words()), highlight=False, soft_wrap=True)
    for why in planned.gathered.left_out.values():
        CONSOLE.print(f"[yellow]Left out:[/] {escape(why)}", highlight=False, soft_wrap=True)
    record = start_round(worklist, planned, out)
    CONSOLE.print(
        f"Round {record.number}, run folder: [bold]{escape(str(record.run.folder))}[/]", highlight=False, soft_wrap=True
    )
    status = watch_run(record.run)
    if status.state not in ("finished", "stopped"):
        CONSOLE.print(escape(status.message), highlight=False, soft_wrap=True)
        raise typer.Exit(1)
    with progress_bar() as bar:
        done = finish_round(worklist, record, progress=teller(bar, "Judging both models"))
    _show_judged(done)


def _beginning(worklist: Worklist, name: str | None) -> Run:
    from napari_seg3d.training.rounds import Rounds

    if name is not None:
        return find_run(name)
    current = Rounds(worklist).current
    if current is None:
        raise ConfigError("There is no model yet to go on from.", "Name the training that made it: --run RUN.")
    return current[1]


def _predict(worklist: Worklist) -> None:
    from napari_seg3d.review import write_summary
    from napari_seg3d.training.rounds import Rounds, predict_waiting

    current = Rounds(worklist).current
    if current is None:
        return
    with progress_bar() as bar:
        problems = predict_waiting(worklist, *current, progress=teller(bar, "Predicting the other cases", at_once=False))
    if not worklist.store.is_written:
        worklist.write()
        write_summary(worklist)
    print_problems(tuple(problems))
    following = worklist.next_case("uncertainty")
    if following is not None and not math.isnan(following.uncertainty):
        CONSOLE.print(
            f"The model is least sure of [bold]{escape(following.case.id)}[/] ({following.uncertainty:.3f}): look at it next.",
            highlight=False,
            soft_wrap=True,
        )


def _show_judged(record: RoundRecord) -> None:
    assert record.comparison is not None
    CONSOLE.print(f"Both models, judged by the {record.judged_on}:", highlight=False)
    _show_comparison(record.comparison)
    kept = "the new model is the better one, and the current one now" if record.is_kept else "the model before is kept"
    CONSOLE.print(
        f"Mean Dice {_cell(record.comparison.mean_before)} before, [bold]{_cell(record.comparison.mean_after)}[/] after: {kept}. "
        "--use brings the other one back.",
        highlight=False,
        soft_wrap=True,
    )


def _show_comparison(comparison: Comparison) -> None:
    table = names_table("case", "label")
    for column in ("Dice before", "after", "HD95 before (mm)", "after"):
        table.add_column(column, justify="right")
    for row in comparison.rows:
        colour = "green" if row.after > row.before else "red" if row.after < row.before else "default"
        table.add_row(
            escape(row.case),
            escape(row.name),
            _cell(row.before),
            f"[{colour}]{_cell(row.after)}[/]",
            _cell(row.hd95_before, 1),
            _cell(row.hd95_after, 1),
        )
    CONSOLE.print(table)


def _show_rounds(rounds: Rounds) -> None:
    records, current = rounds.records, rounds.current
    if not records:
        CONSOLE.print("No rounds yet. `napari-seg3d learn DATASET --run RUN` does the first one.")
        return
    number = current[0] if current is not None else -1
    table = names_table("round", "run")
    for column in ("new", "old", "Dice before", "after"):
        table.add_column(column, justify="right")
    table.add_column("")
    table.add_row("0", escape(rounds.origin_of(records[0].before).name), "", "", "", "", "current" if number == 0 else "")
    for record in records:
        found = record.comparison
        said = "not judged yet" if found is None else "" if record.is_kept else "was not better"
        table.add_row(
            str(record.number),
            escape(record.run.name),
            str(len(record.new) + len(record.changed)),
            str(record.old),
            _cell(found.mean_before) if found is not None else "",
            _cell(found.mean_after) if found is not None else "",
            "current" if number == record.number else said,
        )
    CONSOLE.print(table)


def _cell(value: float, digits: int = 4) -> str:
    return "" if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.{digits}f}"
