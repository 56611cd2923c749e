"""The operations, the resource types that are cached, and the ordering keys of a job."""
