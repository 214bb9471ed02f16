"""What pages of every kind hold: runtimes for browsers, how a picture becomes a tensor, and how answers are drawn."""
