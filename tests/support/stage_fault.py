"""A fault that a stage meets when it writes its first output; byte code that it compiles is renamed, too."""

AT_FIRST_OUTPUT = """
import os, sys
from pathlib import Path
def hook(event, arguments):
    if event == "os.rename" and "/data/" in os.path.abspath(arguments[1]) and "FAULT" in os.environ:
        exec(os.environ.pop("FAULT"))
sys.addaudithook(hook)
"""
