"""Where a file will run: which of its operators a phone's accelerators leave to the processor, by rules with sources.

`rules` is the one table of them, `graph` what they look at, `finding` what comes of it. Each format reads its own files
into a graph (`Exporter.graph`), without its runtime.
"""
