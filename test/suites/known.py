"""What suites.py runs, and which differences it expects."""

# In `make test`: memory, the collector, threads and processes; half a minute in both ways.
CPYTHON_SHORT = """
test_gc test_fork1 test_thread test_threading_local test_mmap test_tracemalloc test_atexit test_threadsignals
test_array test_bytes test_memoryview test_buffer test_deque test_dict test_list test_ctypes test_zlib test_json
""".split()

# What pytest runs: packages as a whole, and packages of tests of which each file and folder is a module, since they are long.
PYTEST = ["numpy.linalg", "numpy.fft", "numpy.ma", "numpy.random", "numpy.polynomial", "numpy.matrixlib", "numpy.array_api",
          "numpy.compat", "numpy.testing", "numpy.tests", "numpy.distutils", "numpy.f2py"]
PYTEST_SPLIT = ["numpy.core.tests", "numpy.lib.tests", "pandas.tests"]

# What may fail preloaded by design: module -> {case: the last line of the traceback, which must be this in all its subtests}.
DIFFERENCES = {
    "test_cmd_line": {
        # Asks which allocator serves the interpreter when PYTHONMALLOC is unset. It is malloc, since LOWTIDE_PYTHON=auto.
        "test.test_cmd_line.CmdLineTest.test_pythonmalloc": "AssertionError: 'malloc' != 'pymalloc'",
        # The same in development mode, whose hooks are there.
        "test.test_cmd_line.CmdLineTest.test_xdev": "AssertionError: 'malloc_debug' != 'pymalloc_debug'",
    },
    "numpy.core.tests.test_function_base": {
        # With AVX-512, power() of an array that ends where its result begins takes another path (numpy sees an overlap), which
        # differs in the last bit, and the test asks for equal bits. glibc's headers keep arrays apart; under jemalloc, tcmalloc
        # and mimalloc it fails as well. pytest's traceback is not looked at.
        "tests.test_function_base.TestLogspace.test_start_stop_array": "",
    },
}
