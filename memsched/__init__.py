"""memsched."""
