"""A fault that a stage meets when it writes its first output."""

AT_FIRST_OUTPUT = """
import os, sys
from pathlib import Path
def hook(event, arguments):
    if event == "os.rename" and "FAULT" in os.environ:
        exec(os.environ.pop("FAULT"))
sys.addaudithook(hook)
"""
