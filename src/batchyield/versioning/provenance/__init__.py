"""Where bytes come from, and whether a rebuild gives them again."""
