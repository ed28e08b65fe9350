"""Parameter memory: adapters of a model, trained on what is stable in a cube. The plain text always stays."""
