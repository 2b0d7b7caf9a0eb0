# Large arrays and small objects side by side, through numpy's and pandas' own caches.
export OPENBLAS_NUM_THREADS=2
exec "$PYTHON" "$PROGRAMS/frames.py"
