"""What a run leaves for people and other programs: metrics, curves, pictures, and predictions of some validation cases."""
