"""The networks of chapters 5 to 8 of *Deep Learning from Scratch 2*: data, models, training."""
