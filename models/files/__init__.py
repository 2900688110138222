"""Model files: checkpoints of runs, and the weight files of the book."""
