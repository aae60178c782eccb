"""Large graphs: the same results without an n x n matrix in memory."""
