"""What the program is called, and how its messages name a repetition."""

PROGRAM = "storage-api"
#: The variable by which a shell asks for completions.
VARIABLE = "_STORAGE_API_COMPLETE"
#: What to give an Idempotency-Key to, where the whole command line is to be repeated.
SAME_COMMAND = "the same command and"
