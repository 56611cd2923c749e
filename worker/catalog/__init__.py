"""What can be asked for: operations, the kinds of resources that are cached, and the ordering keys of a job."""
