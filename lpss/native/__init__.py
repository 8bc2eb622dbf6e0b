"""The package's C code for CPUs: steps of the sphere optimizers (sphere.c) and products with sparse weights (pattern.c,
sparse.c, layout.c). Everything it does can be done without it, more slowly; see loader.py."""
