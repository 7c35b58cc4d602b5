"""What a review costs: seconds for each case, by real keys and mouse in a real viewer, and the memory of the viewer after each.

    scripts/with_display.sh python -m benchmarks.reviewer ../shared/data/hippocampus
    scripts/with_display.sh python -m benchmarks.reviewer ../shared/data/hippocampus --cases 40

The reviewer is that of the tests. Each case is corrected with another tool, commented or not, approved or flagged; the next one comes by
itself. Masks are those of the data set, so that no network is in the way.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from tests.reviewer import WORK, Reviewer

_SETTLED = 5


def main(source: Path, count: int) -> None:
    import napari

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["NAPARI_SEG3D_HOME"] = str(folder / "home")
        for part in ("images", "labels"):
            (folder / "scans" / part).mkdir(parents=True)
            for file in sorted((source / part).glob("*.nii.gz"))[:count]:
                shutil.copyfile(file, folder / "scans" / part / file.name)
        reviewer, process = Reviewer(napari.Viewer(), folder / "scans"), psutil.Process()
        reviewer.say("next")
        memory, seconds = [], []
        for number in range(count):
            start = time.perf_counter()
            reviewer.edit(WORK[number % len(WORK)])
            if number % 5 == 1:
                reviewer.comment("a comment")
            reviewer.say("flag" if number % 3 == 2 else "approve")
            seconds.append(time.perf_counter() - start)
            gc.collect()
            memory.append(process.memory_info().rss / 1e6)
        states = [entry.state for entry in reviewer.model.worklist.entries]
        reviewer.close()
    print(f"{states.count('approved')} approved, {states.count('flagged')} flagged of {count}")
    print(f"seconds per case: median {np.median(seconds):.2f}, longest {max(seconds):.2f}")
    for done in sorted({min(_SETTLED, count), *range(10, count, 10), count}):
        print(f"after {done:3} cases: {memory[done - 1]:7.1f} MB")
    if count > 2 * _SETTLED:
        slope = np.polyfit(np.arange(_SETTLED, count), memory[_SETTLED:], 1)[0]
        print(f"slope after {_SETTLED} cases: {slope:+.2f} MB per case")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder with images and labels")
    parser.add_argument("--cases", type=int, default=20)
    given = parser.parse_args()
    main(given.source, given.cases)
