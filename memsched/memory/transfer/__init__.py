"""Cubes that leave and enter: dump, load, import."""
