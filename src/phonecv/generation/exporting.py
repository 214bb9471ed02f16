"""Generators in files: one step of the way from noise to pictures; the loop around it is the app's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from phonecv.errors import UserError
from phonecv.exporting import comparing
from phonecv.exporting.example import Example
from phonecv.exporting.inputs import Input
from phonecv.exporting.pictures import Pictures
from phonecv.exporting.plain import compare, decoding, needs, no_pictures, nothing_compared, traceable
from phonecv.generation.diffusion import STEPS
from phonecv.generation.network import Generator

MAX_DIFF = comparing.MAX_DIFF
input_batch = no_pictures

__all__ = ["MAX_DIFF", "compare", "decoding", "input_batch", "needs", "nothing_compared", "traceable"]
