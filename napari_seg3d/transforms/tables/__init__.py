"""The tables of the catalogue, one for each kind of transform."""
