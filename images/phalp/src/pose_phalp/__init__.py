"""Runs PHALP with 4D-Humans from the image it finds itself in, and turns what they find into the operator's results."""

__version__ = "0.1.0"
