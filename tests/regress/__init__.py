"""A fourth task, as somebody else would add one: a number for every picture. One folder, and a row in the table.

Its data is a folder with ``train.csv`` and ``val.csv``, lines of ``picture,number``.
"""
