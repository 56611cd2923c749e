"""The operations of the storage contract, with ONTAP's REST calls."""
