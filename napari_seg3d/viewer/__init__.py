"""napari without widgets: layers, reader, writer, sample data, and the state that outlives the docks."""
