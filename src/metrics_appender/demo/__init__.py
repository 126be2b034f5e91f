"""A demonstration with real processes: many append, one is killed, every record is checked."""
