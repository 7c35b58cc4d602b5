"""From a folder of scans to masks that a radiologist trusts."""

__version__ = "0.1.0"
