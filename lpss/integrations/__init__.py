"""Sparse training in the trainers of others: PyTorch Lightning, Hugging Face Trainer, accelerate; see its README.

Nothing is imported here: each module needs a package that only its extra installs.
"""
