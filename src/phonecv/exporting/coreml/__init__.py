"""Core ML: written by coremltools, evaluated here by an interpreter of its programs."""
