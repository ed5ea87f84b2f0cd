"""Exercises of the page *The derivative by hand*."""
