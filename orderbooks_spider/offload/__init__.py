"""Sealed segments go to a remote store by rclone, are proven there, and may then leave the disk."""
