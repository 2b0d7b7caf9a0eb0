"""What suites.py runs, and which differences it expects."""

# Modules of CPython's own suite: what leans on memory, threads, processes, signals, blocking calls and C extensions first.
CPYTHON = """
test_gc test_fork1 test_threading test_thread test_threadsignals test_threading_local test_mmap test_signal test_eintr
test_subprocess test_multiprocessing_fork test_concurrent_futures test_queue test_faulthandler test_tracemalloc test_atexit
test_select test_selectors test_poll test_epoll test_socket test_asyncio test_ssl test_pty test_wait3 test_wait4 test_time
test_sys test_os test_posix test_resource test_cmd_line test_embed test_interpreters test__xxsubinterpreters test_site
test_regrtest test_repl test_ctypes test_array test_bytes test_memoryview test_buffer test_io test_memoryio test_fileio
test_json test_pickle test_dict test_list test_set test_deque test_ordered_dict test_weakref test_unicode test_long test_int
test_re test_struct test_exceptions test_decimal test_zlib test_lzma test_bz2 test_gzip test_zipfile test_tarfile test_csv
test_xml_etree test_xml_etree_c test_hashlib test_codecs test_itertools test_functools test_generators test_coroutines
test_descr test_builtin test_import test_importlib test_logging test_mailbox test_shelve test_dbm test_tempfile test_shutil
test_fcntl test_ioctl test_openpty test_readline test_locale test_traceback test_venv test_contextvars test_sched
""".split()

# numpy's, by package.
NUMPY = ["numpy.core", "numpy.lib", "numpy.linalg", "numpy.fft", "numpy.ma", "numpy.random"]

# What fails preloaded by design: module -> {case: the last line of the traceback, which must be this in all its subtests}.
DIFFERENCES = {
    "test_cmd_line": {
        # Asks which allocator serves the interpreter when PYTHONMALLOC is unset. It is malloc, since LOWTIDE_PYTHON=auto.
        "test.test_cmd_line.CmdLineTest.test_pythonmalloc": "AssertionError: 'malloc' != 'pymalloc'",
        # The same in development mode, whose hooks are there.
        "test.test_cmd_line.CmdLineTest.test_xdev": "AssertionError: 'malloc_debug' != 'pymalloc_debug'",
    },
}
