"""Which memory stands where now, and how it moves."""
