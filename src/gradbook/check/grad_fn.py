"""Exercises of the page *grad_fn*."""
