"""ONNX: written by PyTorch's exporter, run by ONNX Runtime."""
