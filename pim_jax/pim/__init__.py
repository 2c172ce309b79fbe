"""PIM (Bhardwaj et al. 2020): network, objective, distance and weights."""
