"""Whole training steps, side by side with every peer, interleaved in one run."""
