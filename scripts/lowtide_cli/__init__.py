"""The command `lowtide`: one module for each subcommand, and what they share.

main.py holds the table of subcommands. Below them: say.py (messages, units, tables), library.py
(the shared library, and what it says of itself), elf.py and program.py (would a program be
served?), procfs.py, tree.py and sampling.py (memory of processes), job.py (one measured run).
Only the standard library of Python 3.9 is used.
"""
