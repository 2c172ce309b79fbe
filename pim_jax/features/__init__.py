"""Networks whose features metrics compare, and weights for them."""
