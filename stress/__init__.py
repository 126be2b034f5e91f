"""Scenarios with real processes that try to tear, mix, lose or double a line.

A judge who trusts nobody.
"""
