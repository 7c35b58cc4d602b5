"""A run, shown in the terminal until it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from napari_seg3d.cli.app import CONSOLE

if TYPE_CHECKING:
    from napari_seg3d.training import Run, Status

_SHOWN_LABELS = 6
# More of the time than this spent waiting for data is worth a word.
_MUCH_WAITING = 0.1


def watch_run(run: Run, explain: bool = False) -> Status:
    """Show a run until it ends; the first Ctrl-C stops and keeps, the second kills.

    Parameters
    ----------
    run : Run
        Which.
    explain : bool
        Say also why each `auto` became what it is.
    """
    from napari_seg3d.training import EventReader

    reader, state_event, stops = EventReader(run), {}, 0
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")
    with Progress(*columns, console=CONSOLE, transient=False) as bar:
        task = bar.add_task("Starting", total=None, text="")
        while True:
            try:
                alive = run.is_alive()
                for event in reader.read():
                    if event["kind"] == "state":
                        state_event = event
                        if event["state"] in ("training", "paused", "queued"):
                            bar.update(task, description=event["state"].capitalize(), text=event.get("message", ""))
                    _show(event, bar, task, explain)
                # Asked before the events were read: an ended process has nothing more to say.
                if not alive or run.status_after(state_event).ended:
                    return run.status_after(state_event)
                time.sleep(0.3)
            except KeyboardInterrupt:
                stops += 1
                if stops == 1:
                    run.stop()
                    bar.console.print("Stopping; what was learnt is kept. Press Ctrl-C again to kill it.")
                else:
                    run.kill()


def _show(event: dict[str, Any], bar: Progress, task: Any, explain: bool) -> None:
    kind = event["kind"]
    if kind == "progress":
        bar.update(
            task,
            description=event["what"],
            completed=event["done"],
            total=event["total"],
            text=f"{event['done']}/{event['total']}",
        )
    elif kind == "step":
        total = event["elapsed"] + event["seconds_left"]
        left = time.strftime("%H:%M:%S", time.gmtime(event["seconds_left"]))
        text = f"loss {event['loss']:.3f} · {event['iterations_per_second']:.1f} steps/s · {left} left"
        if event.get("wait_share", 0) > _MUCH_WAITING:
            text += f" · waits for data {event['wait_share']:.0%} of the time"
        bar.update(task, description="Training", completed=event["elapsed"], total=total, text=text)
    elif kind == "plan":
        bar.console.print(
            f"{event['train_cases']} cases train, {event['validation_cases']} validate; {event['device']} in {event['precision']}; "
            f"patches {'x'.join(map(str, event['patch_size']))} at {' x '.join(f'{edge:g}' for edge in event['spacing'])} mm, "
            f"{event['batch_size']} per step; {event['network']} with {event['parameters']:,} weights, loss {event['loss']}",
            highlight=False,
        )
        for reason in event["reasons"] if explain else ():
            bar.console.print(f"  {reason['setting']} = {escape(str(reason['value']))}: {escape(reason['why'])}", highlight=False)
    elif kind == "resumed":
        bar.console.print(f"Goes on after step {event['iteration']}.", highlight=False)
    elif kind == "validation" and event["mean_dice"] is not None:
        known = [f"{escape(name)} {dice:.3f}" for name, dice in event["dice"].items() if dice is not None]
        labels = ", ".join(known[:_SHOWN_LABELS]) + (
            f" and {len(known) - _SHOWN_LABELS} more" if len(known) > _SHOWN_LABELS else ""
        )
        best = " [green]best so far[/]" if event["best"] else ""
        if event.get("metric", "dice") != "dice" and event.get("score") is not None:
            best = f", {escape(event['metric'])} {event['score']:.4f}{best}"
        bar.console.print(f"epoch {event['epoch']:.1f}: Dice [bold]{event['mean_dice']:.4f}[/] ({labels}){best}", highlight=False)
    elif kind == "warning":
        bar.console.print(f"[yellow]Warning:[/] {escape(event['message'])} {escape(event['fix'])}", highlight=False)
