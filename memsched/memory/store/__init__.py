"""Where memories are kept: the vector store, Qdrant."""
