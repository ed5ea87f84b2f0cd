"""Exercises of the page *Linear regression, four times*."""
