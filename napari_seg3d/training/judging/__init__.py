"""How good the model is: validation of whole scans, which model is the best, and whether it is worth going on."""
