"""Large scans are prepared piece by piece, when a window is cut out of them: no copy of the whole is ever made."""
