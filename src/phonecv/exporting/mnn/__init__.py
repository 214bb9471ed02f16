"""MNN: converted from the ONNX graph, run by MNN on the CPU."""
