"""How storage systems are configured: the two file formats, and the typed options of each driver."""
