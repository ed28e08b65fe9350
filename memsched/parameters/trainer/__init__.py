"""The reference trainer: a LoRA adapter with torch, transformers and peft (the extra ``train``).

``python -m memsched.parameters.trainer --base FOLDER IN OUT``. Any other program that reads the data set and writes
``figures.json`` may stand in its place.
"""
