"""Layouts of a generator's data: those of a classifier, whose task audits them."""

from __future__ import annotations

from phonecv.data.layouts import Layout

LAYOUTS: tuple[Layout, ...] = ()
