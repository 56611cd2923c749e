"""The command line ``storage-api``. What is heavy is imported only where it is used: ``--help`` starts at once."""
