"""The gate, comparison of models, and the report on a pull request."""
