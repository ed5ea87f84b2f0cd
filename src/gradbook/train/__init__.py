"""Use gradients: accumulate them, train with them, and go on after a break."""
