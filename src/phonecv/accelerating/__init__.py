"""`phonecv.accelerate`: a network that runs in the fastest runtime installed, and is called as before."""
