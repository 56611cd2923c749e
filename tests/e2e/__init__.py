"""The whole service on real parts, held to its public contract over HTTP. Nothing here imports the service's code."""
