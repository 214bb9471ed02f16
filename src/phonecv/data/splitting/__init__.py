"""Dividing data that comes without splits: which samples are held out, which belong together, and the lists of both."""
