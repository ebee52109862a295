"""The command line: one module per noun; the functions are thin calls into the rooms below."""
