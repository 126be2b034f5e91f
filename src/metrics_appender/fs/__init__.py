"""The operating system behind one narrow border: calls, locks, forks, file names, notification."""
