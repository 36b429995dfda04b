"""`functrain.compare`: what is said of two recorded runs."""
