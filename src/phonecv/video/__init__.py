"""The task of naming what happens in a clip: V-EMO, EMOv2 over time and space."""
