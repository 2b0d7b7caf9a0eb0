"""Starts a program as a child, and tells exec's failures apart from the program's own."""
import ctypes
import errno
import os
import resource
import shutil
import signal

from . import say

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
# Python ignores these for itself; a program is to find them as usual.
IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ")


def prctl(what, value):
    try:
        ctypes.CDLL(None).prctl(what, value, 0, 0, 0)
    except (OSError, AttributeError):
        pass


def become_subreaper():
    """Descendants whose parents end become children of this process, instead of being lost."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def fill_descriptors():
    """Opens those of 0, 1 and 2 that are closed, so that no file or pipe of a job gets one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)      # gets the lowest number that is free


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def execute(command, environment):
    """As execvp(3): a script without an interpreter's line is the shell's."""
    try:
        os.execvpe(command[0], command, environment)
    except OSError as reason:
        path = shutil.which(command[0], path=environment.get("PATH")) or command[0]
        if reason.errno != errno.ENOEXEC or is_elf(path):
            raise
    os.execve("/bin/sh", ["sh", path, *command[1:]], environment)


def prepare_child(mask, files, new_session):
    if new_session:
        os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for name in IGNORED_BY_PYTHON:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    for number, file in enumerate(files):
        if file is not None:
            os.dup2(file, number)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def exec_failed(command, code):
    if code == errno.ENOENT and shutil.which(command[0]):
        return say.CliError(f"{command[0]}: its interpreter or loader does not exist", say.CANNOT_EXECUTE)
    if code in (errno.ENOENT, errno.ENOTDIR):
        return say.CliError(f"{command[0]}: no such command", say.NOT_FOUND)
    return say.CliError(f"{command[0]}: {os.strerror(code)}", say.CANNOT_EXECUTE)


def start(command, environment, mask, files=(), new_session=False):
    """Returns the pid once exec has taken place. `mask` is the signal mask the program is to have,
    `files` its descriptors 0, 1, 2 (None = as here). Dies with this process."""
    ctypes.CDLL(None)       # loaded before the fork
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = errno.EINVAL
        try:
            prepare_child(mask, files, new_session)
            execute(command, environment)
        except OSError as reason:
            code = reason.errno or code
        finally:
            os.write(writing, str(code).encode())
            os._exit(127)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    if text:
        os.waitpid(pid, 0)
        raise exec_failed(command, int(text))
    return pid


def end_like(status):
    """Ends this process as the child did: with its code, or by its signal without a core dump."""
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    except (OSError, ValueError):
        pass
    return 128 + number


def describe_status(status):
    if os.WIFSIGNALED(status):
        try:
            return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        except ValueError:
            return f"killed by signal {os.WTERMSIG(status)}"
    return f"exit code {os.WEXITSTATUS(status)}"
