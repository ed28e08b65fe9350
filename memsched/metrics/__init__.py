"""Numbers in the forms of monitoring systems."""
