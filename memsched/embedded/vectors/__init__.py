"""The vector process: Qdrant's engine (qdrant-edge) behind the part of Qdrant's REST protocol that memsched uses."""
