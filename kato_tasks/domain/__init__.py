"""What the words of the design mean: pure code, no input or output."""
