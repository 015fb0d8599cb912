"""The venue: its addresses and limits, its fields, its hash.  Nothing else knows their names."""
