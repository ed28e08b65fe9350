"""Embedding models from a folder of one's own: what the folder says, its tokenizer, and how it is run."""
