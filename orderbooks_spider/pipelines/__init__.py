"""What happens to a row: stamped, appended to its feed, and accounted for in manifests."""
