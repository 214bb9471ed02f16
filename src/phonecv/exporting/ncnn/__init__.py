"""ncnn: converted by pnnx, run by ncnn."""
