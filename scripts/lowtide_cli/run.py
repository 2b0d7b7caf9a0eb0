"""`lowtide run`: a program under lowtide, as if it had been started directly.

The program is a child of this process, which forwards signals and ends as the child did. Signals
that the terminal sent to the whole process group are not forwarded, since the child got them, too.
All of them are blocked here and taken out one by one (sigtimedwait), so nothing happens between
two of them; when nothing comes, the time is used to look at the program and to take samples.
"""
import os
import signal
import time

from . import config, interpreter, launch, library, program, say
from .summary import Summary

FAILED = 125                    # --require was not met
SETTLED_S = 0.25                # a program that is the same for so long will not exec any more
LOOK_LIMIT_S = 1.0              # a process that tells nothing for so long never will
LOOKS_S = (1.0, 3.0, 10.0)      # it may, though
SI_KERNEL = 0x80                # the sender of a signal was the terminal
NOT_FORWARDED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE,
                 signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS, signal.SIGPIPE}


def arguments_run(parser):
    parser.add_argument("--require", action="store_true",
                        help=f"end with {FAILED} when lowtide is not active in the program")
    parser.add_argument("--quiet", action="store_true", help="say nothing when lowtide is active")
    parser.add_argument("--verbose", action="store_true", help="one line on the machine and the effective options")
    parser.add_argument("--summary", action="store_true", help="at exit, what the program's memory was")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE",
                        help="an option of the library, e.g. profile=tight; beats environment and files")
    parser.add_argument("--no-config", action="store_true", help="do not read lowtide.conf")
    parser.add_argument("--exec", action="store_true",
                        help="become the program instead of watching it (systemd Type=notify, PID 1 of a container)")
    parser.epilog = """\
The program inherits stdin, stdout, stderr and the environment; lowtide's own lines go to stderr.
The exit code is the program's, 126 or 127 when it cannot be started. Options come from --set,
the environment, $XDG_CONFIG_HOME/lowtide.conf, and /etc/lowtide.conf, in this order.

examples:
  lowtide run -- python3 service.py
  lowtide run --summary --set profile=tight -- ./simulate input.dat
  srun lowtide run --require --quiet -- python3 train.py
"""


def effective_environment(options, path):
    """What the program is to have, without the preload."""
    known = [row[0] for row in library.option_table(path)] if options.set or (
        not options.no_config and config.any_exists()) else []
    environment = dict(os.environ) if options.no_config else config.apply(os.environ, known)
    for setting in options.set:
        key, equals, value = setting.partition("=")
        if not equals or config.variable_of(key) not in known:
            raise say.CliError(f"--set {setting}: no such option; `lowtide options` lists them", say.USAGE)
        environment[config.variable_of(key)] = value
    # pyarrow brings an allocator of its own, unless it is told not to use it
    environment.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    return environment


def say_machine(path, environment):
    settings = sorted(f"{key}={value}" for key, value in environment.items()
                      if key.startswith("LOWTIDE_") and key not in ("LOWTIDE_LIB", "LOWTIDE_SYSTEM_CONF"))
    found = library.machine(path, *(s for s in settings if not s.startswith("LOWTIDE_STATS=")))
    if not found:
        say.note(f"{path} cannot be loaded: {library.why_not_loaded(path)}")
        return
    huge = "as the system has them" if "LOWTIDE_THP=keep" in settings else "off for the heap"
    say.note(f"{found['version']}, page size {say.memory(os.sysconf('SC_PAGE_SIZE'))}, huge pages {huge}, "
             f"limit {say.memory(found['limit_bytes'])}, available {say.memory(found['available_bytes'])}, "
             f"level {library.level_name(found['level'])}, options: {' '.join(settings) or 'defaults'}")


def must_stand_aside(seen):
    """Programs that would not even start with the library preloaded."""
    return seen.problem and seen.problem.startswith(("other libc", "sanitizer", "a memory checker", "the library is damaged"))


class Watch:
    """Is lowtide active? Looks at the process until it has settled, says so, and now and then later."""

    def __init__(self, pid, path, options, command, environment):
        self.pid, self.path, self.options, self.command = pid, path, options, command
        self.environment = environment
        self.began = time.monotonic()
        self.state, self.seen, self.said = program.STARTING, None, None
        self.since = self.began     # this executable has been the program
        self.looks = list(LOOKS_S)

    def wait_s(self):
        if self.said is None:
            return 0.005 if self.state == program.STARTING else 0.05
        return max(0.0, self.began + self.looks[0] - time.monotonic()) if self.looks else None

    def tick(self):
        """True as soon as it is known that the program is not served."""
        now = time.monotonic()
        if self.said is not None and (not self.looks or now < self.began + self.looks[0]):
            return False
        if self.said is not None:
            self.looks.pop(0)
        state, seen = program.judge_process(self.pid, self.path)
        if state in (program.GONE, program.STARTING) and self.said is None and now - self.began > LOOK_LIMIT_S:
            self.ask_loader()
            return self.say(" (by its file: the process cannot be looked at)")
        if state == program.GONE:
            return False
        if not self.seen or not seen or seen.path != self.seen.path:
            self.since = now
        self.state, self.seen = state, seen or self.seen
        if state != program.STARTING and now - self.since >= SETTLED_S:
            return self.say()
        return False

    def end(self):
        """The program has ended: what was seen last is said now. True when it was not served."""
        if self.said is not None:
            return self.state == program.NOT_ACTIVE
        if self.state == program.STARTING:
            self.ask_loader()
        return self.say(" (it has ended)" if self.state == program.ACTIVE else "")

    def ask_loader(self):
        seen = program.look_at(self.command, self.path, self.environment.get("PATH"))
        loads = not seen.problem and program.loader_loads(seen.path, self.path)
        if not seen.problem and not loads:
            seen = program.Program(seen.path, "the loader does not load the library", None)
        self.state, self.seen = (program.ACTIVE if loads else program.NOT_ACTIVE), seen

    def say(self, remark=""):
        what = (self.state, self.seen.path)
        if what != self.said:
            self.said = what
            if self.state == program.NOT_ACTIVE:
                say.note(not_active(self.seen))
            elif not self.options.quiet:
                say.note(f"ACTIVE in {self.seen.name} (pid {self.pid}){self.remark()}{remark}")
        return self.state == program.NOT_ACTIVE

    def remark(self):
        python = interpreter.objects(self.seen.path, self.command[1:], self.environment,
                                     not self.seen.through and interpreter.is_python(self.command[0]))
        if python:
            return f"; Python's objects: {python[1]}"
        return f"; {self.seen.remark}" if self.seen.remark else ""


def not_active(seen):
    return f"NOT ACTIVE in {seen.name}: {seen.problem}" + (f"; {seen.advice}" if seen.advice else "")


class Keeper:
    """Waits for the child, forwards signals, and does something useful meanwhile."""

    def __init__(self, pid, watch, summary):
        self.pid, self.watch, self.summary = pid, watch, summary
        self.failed = False
        self.signals = signal.valid_signals() - NOT_FORWARDED | {signal.SIGCHLD}

    def send(self, number):
        try:
            os.kill(self.pid, number)
        except OSError:
            pass

    def stop_as_child(self):
        """The child was stopped, as by Ctrl-Z: so is this process, until someone lets it go on. A
        stop is told once, so going on before the child does is no second one."""
        os.kill(os.getpid(), signal.SIGSTOP)
        self.send(signal.SIGCONT)

    def handle(self, info):
        if info.si_signo == signal.SIGCHLD:
            return
        if info.si_code != SI_KERNEL:       # otherwise from the terminal: the child has it as well
            self.send(info.si_signo)

    def reap(self):
        """The child's status and usage once it has ended, else None."""
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                return None
            if not os.WIFSTOPPED(status):
                return status, usage
            self.stop_as_child()

    def wait(self, required):
        while True:
            ended = self.reap()
            if ended:
                return ended
            if self.watch and self.watch.tick() and required and not self.failed:
                self.failed = True
                self.send(signal.SIGTERM)
            if self.summary:
                self.summary.tick()
            waits = [part.wait_s() for part in (self.watch, self.summary) if part]
            waits = [wait for wait in waits if wait is not None]
            timeout = min(waits) if waits else 3600.0
            info = signal.sigtimedwait(self.signals, max(timeout, 0.001))
            if info:
                self.handle(info)


def become(command, environment, seen, options):
    """--exec: this process is the program from here on, so it is judged by its file."""
    if not seen.problem and not options.quiet:
        say.note(f"ACTIVE in {seen.name} (by its file; pid {os.getpid()})")
    for name in launch.IGNORED_BY_PYTHON:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        launch.execute(command, environment)
    except OSError as reason:
        raise launch.exec_failed(command, reason.errno) from None


def command_run(options):
    if not options.command:
        raise say.CliError("run: no command; give it after --", say.USAGE)
    path = library.find()
    environment = effective_environment(options, path)
    if options.verbose:
        say_machine(path, environment)
    command = options.command
    seen = program.look_at(command, path, environment.get("PATH"))
    stands_aside = must_stand_aside(seen)
    if not stands_aside:
        environment = library.with_preload(environment, path)
    if seen.problem and (stands_aside or options.require or options.exec):
        say.note(not_active(seen))
        if options.require:
            return FAILED
    if options.exec:
        become(command, environment, seen, options)
    return run_child(options, command, environment, path, stands_aside)


def run_child(options, command, environment, path, stands_aside):
    summary = Summary(environment) if options.summary else None
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - NOT_FORWARDED | {signal.SIGCHLD})
    pid = launch.start(command, environment, usual)
    watch = None if stands_aside else Watch(pid, path, options, command, environment)
    if summary:
        summary.begin(pid)
    keeper = Keeper(pid, watch, summary)
    status, usage = keeper.wait(options.require)
    unserved = watch.end() if watch else False
    if summary:
        summary.print(usage)
    if options.require and (unserved or keeper.failed):
        return FAILED
    return launch.end_like(status)
