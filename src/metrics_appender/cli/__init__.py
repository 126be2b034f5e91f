"""The shell's door: the command `metrics-appender`, with Typer and Rich."""
