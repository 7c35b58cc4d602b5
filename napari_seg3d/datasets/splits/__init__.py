"""Who trains, who validates and who tests: drawn, stored, and frozen."""
