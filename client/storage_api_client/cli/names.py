"""What the program is called."""

PROGRAM = "storage-api"
#: The variable by which a shell asks for completions.
VARIABLE = "_STORAGE_API_COMPLETE"
