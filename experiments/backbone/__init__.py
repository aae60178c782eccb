"""Networks before the pooling, side by side."""
