"""The Ray that trials run on: how it is joined or started, whether it is alive, and what it leaves on disk."""
