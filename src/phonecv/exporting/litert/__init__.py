"""LiteRT: converted by litert-torch, run by LiteRT's interpreter."""
