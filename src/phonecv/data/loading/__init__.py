"""From a listing to batches, reproducibly, by workers."""
