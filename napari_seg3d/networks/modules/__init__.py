"""The networks themselves. Only the builders import from here, because every file here needs torch."""
