"""The files of a log at rest: names, sealing, recovery, cleaning. Bytes, no JSON."""
