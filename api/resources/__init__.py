"""One module of routes for each kind of resource; a view says facts and calls one use case."""
