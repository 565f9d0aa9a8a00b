"""Handfast, second implementation: plain Python, written for reading.

Not constant-time and not for use with real secrets.
"""
