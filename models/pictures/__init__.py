"""What pictures show, and the pictures: gates and gradients of models, attention, curves.

Imports run downwards: gates and gradients compute, plots draws (with matplotlib).
"""
