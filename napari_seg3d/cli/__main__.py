"""``python -m napari_seg3d.cli`` is ``napari-seg3d``."""

from napari_seg3d.cli import main

main()
