"""Show what autograd recorded and what a backward pass does."""
