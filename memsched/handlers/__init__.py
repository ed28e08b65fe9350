"""What memsched's own labels do: one file per label, which gets messages from the worker and calls the memory half."""
