"""`memsched demo`: several workers remember a conversation, one is killed, and evidence shows that nothing was lost."""
