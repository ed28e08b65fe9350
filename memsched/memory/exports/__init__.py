"""What other programs wrote down of talks: their exports, as conversations."""
