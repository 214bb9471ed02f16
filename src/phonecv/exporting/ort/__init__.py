"""Files of ONNX Runtime's own format, for builds of it that hold an app's operators alone."""
