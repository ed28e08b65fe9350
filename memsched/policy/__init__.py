"""What is worth keeping near: which memories a cube's working set holds, and in which order."""
