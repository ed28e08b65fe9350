"""Cubes that leave and enter: export, import, and the dump between them."""
