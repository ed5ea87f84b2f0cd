"""Exercises of the page *Turning autograd off*."""
