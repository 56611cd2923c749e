"""ONTAP's REST interface: transport, responses, error codes, queries and its jobs. Knows no operation of ours."""
