"""The job record and its client side: ids, submission, status, notifications of changes, replies."""
