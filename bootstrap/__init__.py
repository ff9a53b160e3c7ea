"""The set-up, which ./run does first. Standard library only, except spark_archive.py, which runs in .venv."""
