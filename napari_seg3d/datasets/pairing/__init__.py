"""Which mask belongs to which image: by their names, by a list, or by hand; and how sure that is."""
