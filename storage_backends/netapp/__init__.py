"""The driver for NetApp filers, on ONTAP's REST interface."""

from storage_backends.netapp.backend import NetappStorage

__all__ = ["NetappStorage"]
