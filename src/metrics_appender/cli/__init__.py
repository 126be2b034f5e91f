"""The command line `metrics-appender`, made with Typer and Rich."""
