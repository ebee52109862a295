"""The report on a pull request, in Markdown."""
