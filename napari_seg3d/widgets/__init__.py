"""One dock per module, and the few parts that they share."""
