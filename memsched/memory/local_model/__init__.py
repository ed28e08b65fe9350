"""Embedding models from a folder of one's own: what the folder says, its tokenizer, and the two ways to run it."""
