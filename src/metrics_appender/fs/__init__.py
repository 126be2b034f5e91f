"""The operating system behind one narrow door: calls, locks, forks, file names, notification."""
