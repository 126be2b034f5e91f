"""The main job on real processes: many append, one is killed, everything is checked."""
