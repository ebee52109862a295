"""The report that a pull request gets as a comment."""
