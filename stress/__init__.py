"""Scenarios with real processes that try to tear, mix, lose or double a line, and a judge who trusts nobody."""
