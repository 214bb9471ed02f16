"""ExecuTorch: lowered to XNNPACK, run by its own runtime."""
