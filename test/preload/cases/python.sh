# A tour of the standard library: threads, processes, coroutines, C extensions, ctypes.
exec "$PYTHON" "$PROGRAMS/stdlib.py"
