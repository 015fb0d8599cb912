"""The live order-book archive: record what prediction-market books showed, and prove it."""

__version__ = "0.1.0"
