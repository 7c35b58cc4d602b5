"""The docs show every tool: its key, what it does, when to take it, and a picture of before and after."""

from pathlib import Path

import pytest
from PIL import Image

from napari_seg3d.editing.tools import TOOLS
from napari_seg3d.viewer.correct_keys import readable

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("spec", TOOLS, ids=[spec.id for spec in TOOLS])
def test_the_docs_show_every_tool(spec):
    picture = f"images/tools/{spec.id}.png"
    row = f"| ![{spec.title}, before and after]({picture}) | **{spec.title}** ({readable(spec.key)}). {spec.tooltip} {spec.use} |"
    assert row in (DOCS / "correcting.md").read_text(encoding="utf-8").splitlines(), f"docs/correcting.md lacks:\n{row}"
    assert (DOCS / picture).stat().st_size < 40_000
    with Image.open(DOCS / picture) as opened:
        assert opened.width >= 2 * 320
        assert len(opened.getcolors(maxcolors=1 << 16)) > 8, "something is seen"


def test_there_is_no_picture_of_a_tool_that_is_gone():
    assert {path.stem for path in (DOCS / "images" / "tools").iterdir()} == {spec.id for spec in TOOLS}
