"""Servers that memsched starts itself on one machine, for `embedded://FOLDER`: Redis, Qdrant's engine, llama.cpp's."""
