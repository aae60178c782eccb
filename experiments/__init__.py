"""Studies of the method: outside of the installed package, run from the repository."""
