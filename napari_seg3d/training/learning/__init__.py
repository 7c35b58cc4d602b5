"""How a network learns: the optimiser, the learning rate, the average of the weights, and the step that joins them with a loss."""
