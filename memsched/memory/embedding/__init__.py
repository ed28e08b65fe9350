"""Texts to vectors: one file per provider."""
