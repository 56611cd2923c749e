"""The HTTP front end: it checks what is asked, reads what is cached, and queues the rest as jobs. It opens no back-end."""
