"""The page where phones time exported networks; `phonecv.benchmarking.serve` offers it."""
