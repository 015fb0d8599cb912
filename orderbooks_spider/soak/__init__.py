"""The soak: a collector is run for hours while faults are injected on schedule, and judged by its archive."""
