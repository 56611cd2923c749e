"""The operations of the storage contract, carried out with ONTAP's REST calls."""
