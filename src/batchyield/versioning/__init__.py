"""What is said about pins; the only room that may import dvc."""
