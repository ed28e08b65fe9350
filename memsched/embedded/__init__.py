"""Servers that memsched starts itself on one machine, for `embedded://FOLDER`: Redis, and Qdrant's engine."""
