"""An emulated machine: Debian's kernel under qemu-system, with init.c as its first process, which runs commands and tells over the
console how they ended."""
import itertools
import os
import queue
import subprocess
import threading

# What an emulated POWER9 cannot do about side channels is not worth a warning each.
POWER = "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"
# The default way to sign pointers takes most of an emulated processor's time.
EMULATORS = {
    "powerpc64le": (["qemu-system-ppc64", "-M", POWER], "hvc0"),
    "aarch64": (["qemu-system-aarch64", "-M", "virt", "-cpu", "max,pauth-impdef=on"], "ttyAMA0"),
}
COMMON = "-smp 2 -m 2G -nodefaults -display none -monitor none -serial stdio -no-reboot".split()


class Ended(Exception):
    """The machine runs no more; with the last lines of its console."""


class Late(Exception):
    pass


def encode(text):
    return str(text).encode().hex()


def decode(digits):
    return bytes.fromhex(digits.strip("-")).decode(errors="replace")


class Machine:
    BOOT_S, GRACE_S = 240, 60

    def __init__(self, directory, kind, seconds):
        """The directory has kernel and initramfs.gz; after so many seconds the machine is switched off."""
        emulator, console = EMULATORS[kind]
        command = [*emulator, *COMMON, "-kernel", os.path.join(directory, "kernel"), "-initrd", os.path.join(directory, "initramfs.gz"),
                   "-append", f"console={console} quiet panic=-1"]
        self.seconds, self.numbers, self.waiting, self.console = seconds, itertools.count(1), {}, []
        self.lock, self.is_ended = threading.Lock(), False
        self.ready = self.expect("ready")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.timer = threading.Timer(seconds, self.process.kill)
        self.timer.daemon = True
        self.timer.start()
        threading.Thread(target=self.listen, daemon=True).start()

    def expect(self, number):
        """Where the reply will come, or None when the machine ends before."""
        place = queue.Queue(1)
        with self.lock:
            if self.is_ended:
                place.put(None)
            self.waiting[number] = place
        return place

    def listen(self):
        for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip()
            _, found, reply = text.partition("lowtide ")
            words = reply.split()
            if found and len(words) == 4 and words[0] in self.waiting:
                self.waiting.pop(words[0]).put(words[1:])
            else:
                self.console = self.console[-9:] + [text]
        with self.lock:
            self.is_ended = True
            for place in self.waiting.values():
                place.put(None)

    def wait(self, place, seconds):
        try:
            reply = place.get(timeout=seconds)
        except queue.Empty:
            reply = None
            self.process.kill()
        if reply is None:
            raise Ended("the machine ended: " + " | ".join(self.console)[-500:])
        return reply

    def booted(self):
        """The page in bytes, the machine's own name, and the kernel's release."""
        reply = self.wait(self.ready, self.BOOT_S)
        self.ready.put(reply)
        return int(reply[0]), reply[1], reply[2]

    def run(self, command, variables, seconds):
        """The exit code, as subprocess has it, and what was written to stdout and stderr."""
        self.booted()
        number = str(next(self.numbers))
        place = self.expect(number)
        settings = [encode(f"{name}={value}") for name, value in variables.items()]
        request = " ".join([number, str(seconds), str(len(settings)), *settings, *map(encode, command)])
        self.write(request)
        status, out, err = self.wait(place, seconds + self.GRACE_S)
        if status == "late":
            raise Late(decode(out) + decode(err))
        return os.waitstatus_to_exitcode(int(status)), decode(out), decode(err)

    def write(self, line):
        with self.lock:
            try:
                self.process.stdin.write(line.encode() + b"\n")
                self.process.stdin.flush()
            except OSError:     # it has ended, which whoever waits is told
                pass

    def stop(self):
        self.write("off")
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.timer.cancel()
