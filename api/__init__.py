"""The HTTP front end: it checks what is asked, reads what is cached, and queues the rest. It opens no back-end."""
