"""torch.export: the graph as PyTorch itself keeps it."""
