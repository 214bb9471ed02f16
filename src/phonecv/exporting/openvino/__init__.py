"""OpenVINO: converted from the ONNX graph, run by OpenVINO."""
