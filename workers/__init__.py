"""What containers start: ``python -m workers``."""
