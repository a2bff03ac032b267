"""Arrays in, arrays out: the mathematics of evidence, the attention model and its artifact."""
