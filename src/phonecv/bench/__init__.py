"""What a network costs."""

from phonecv.bench.count import Cost, count_cost, count_parameters

__all__ = ["Cost", "count_cost", "count_parameters"]
