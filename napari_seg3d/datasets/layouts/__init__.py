"""How data sets lie on disk: folders, the decathlon's, nnU-Net's, LUNA's, lists, and our own `dataset.yaml`."""
