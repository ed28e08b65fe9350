"""Where memories are kept: Qdrant."""
