"""The task of making pictures of a class asked for: D-EMO, diffusion with EMOv2's block."""
