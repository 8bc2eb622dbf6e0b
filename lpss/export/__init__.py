"""Trained nets as files that others read, and back: compressed safetensors, SciPy, ONNX, torch's state dicts."""
