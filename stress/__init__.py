"""Scenarios with real processes that try to tear, mix, lose or double a line.

Verified from what the processes reported, with no code of the library.
"""
