"""Finding out on the filer what became of a change whose answer was lost."""
