"""``python -m napari_seg3d.cli`` is ``napari-seg3d``."""

from napari_seg3d.cli import main

if __name__ == "__main__":  # the workers of Dask import this file, too
    main()
