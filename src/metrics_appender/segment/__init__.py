"""The files of a log: their names, sealing, recovery and cleaning; as bytes, without JSON."""
