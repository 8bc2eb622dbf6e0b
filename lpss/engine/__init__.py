"""Nets that compute from their active weights alone, on CPUs.

pattern.py     where a layer's active weights are, and in which order a kernel passes them
layout.py      activations with the batch innermost
products.py    products with active weights, by the C code (lpss/native) or by torch's CSR products
functions.py   the same for autograd, and batch normalisation in that layout
norms.py       BatchNorm that does the ReLU and residual after it;  channels_last.py: of images with channels last
modules.py     Linear, Conv2d and what stands between them
weight_copy.py what is read of a weight that holds its active entries alone
site.py        a layer's weight: whole, or its active entries alone
accelerate.py  a net and its method together;  inference.py: a trained net
rule.py        up to which density a layer is faster so;  precision.py: whether a net is faster in bfloat16
measured.py    times, and where what was measured is kept
memory.py      freed memory that is used again
"""
