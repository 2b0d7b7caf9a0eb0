"""The suite's real programs: a compiler, a database in memory, an interpreter, and a server with a client."""
import functools
import os
import pathlib
import random
import re
import shutil
import subprocess
import time

from allocators import HERE, Failed
from programs import Job, Program

START_S = 20


def lacks_command(*names):
    missing = [name for name in names if not shutil.which(name)]
    return f"there is no {missing[0]}" if missing else None


def write(directory, name, lines):
    file = pathlib.Path(directory) / name
    file.write_text("\n".join(lines) + "\n")
    return file


# --- gcc --------------------------------------------------------------------------------------

C_FUNCTION = """\
struct record_{i} {{ int id, kind; double weight[{size}]; struct record_{i} *next; }};
static int choose_{i}(int kind, int value)
{{
    switch (kind % 7) {{
    case 0: return value * {a} + {b};
    case 1: return value / {a} - kind;
    case 2: return (value << {c}) ^ {b};
    case 3: return value > {b} ? {a} : value + kind;
    default: return choose_{before}(kind - 1, value) + {c};
    }}
}}
double work_{i}(struct record_{i} *list, const char *text, unsigned length)
{{
    double sum = {a};
    unsigned hash = {b};
    for (unsigned k = 0; k < length; k++) {{
        hash = hash * 33 + (unsigned char)text[k];
        if (hash % {size} == {c})
            sum += work_{before}(0, text + k, length - k) * {a};
    }}
    for (; list; list = list->next)
        for (int k = 0; k < {size}; k++) {{
            list->weight[k] += list->weight[(k + {c}) % {size}] * choose_{i}(list->kind, k);
            sum += list->weight[k] > hash ? list->id : sum / (k + 1);
        }}
    return sum;
}}
"""


def c_source(functions):
    source = random.Random(1)
    yield "static int choose_0(int kind, int value) { return kind + value; }"
    yield "double work_0(void *list, const char *text, unsigned length) { return list ? length : *text; }"
    for i in range(1, functions):
        yield C_FUNCTION.format(i=i, before=i - 1, size=source.randrange(4, 40), a=source.randrange(2, 99),
                                b=source.randrange(2, 9999), c=source.randrange(1, 4))


def gcc_job(scale, directory):
    file = write(directory, "large.c", c_source(10 + 3 * scale))
    return Job(["gcc", "-w", "-O1", "-c", "-o", "large.o", file])


# --- sqlite3 ----------------------------------------------------------------------------------

SQL = """\
create table orders(id integer primary key, customer integer, place text, price real, remark text);
with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < {rows})
    insert into orders select n, n * 7919 % {customers}, 'place ' || (n * 31 % 97), n * 13 % 1000 / 10.0,
                              substr(hex(n * 2654435761), 1, 4 + n % 9) || ' remark ' || n from numbers;
create index by_customer on orders(customer);
create index by_remark on orders(remark);
create table customers as select customer, count(*) as number, sum(price) as total from orders group by customer;
select count(*) from orders join customers using (customer) where orders.price > customers.total / customers.number;
select place, group_concat(remark, ',') from orders where id % 50 = 0 group by place order by place;
delete from orders where (id * 48271) % 10 <> 0;
update orders set remark = remark || ' changed ' || place;
with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < {rows})
    insert into orders select n + 10000000, n * 104729 % {customers}, 'elsewhere ' || n % 31, n % 77, hex(n)
        from numbers;
select 'check=' || (sum(length(remark)) + count(distinct place)) from orders;
"""


def sqlite_job(scale, directory):
    script = write(directory, "orders.sql", [SQL.format(rows=1500 * scale, customers=50 * scale)])
    return Job(["sqlite3", ":memory:"], stdin=script)


# --- perl -------------------------------------------------------------------------------------

def perl_job(scale, directory):
    return Job(["perl", HERE / "suite" / "job.pl", scale], env={"PERL_HASH_SEED": "0"})


# --- redis ------------------------------------------------------------------------------------

def redis_server():
    """Debian's redis-tools has the server under its second name only."""
    return shutil.which("redis-server") or shutil.which("redis-check-rdb")


@functools.lru_cache(None)
def links_jemalloc():
    needed = subprocess.run(["ldd", os.path.realpath(redis_server())], stdout=subprocess.PIPE, text=True).stdout
    return "libjemalloc" in needed


def path_of_libc():
    maps = pathlib.Path("/proc/self/maps").read_text()
    return re.search(r"(/\S+/libc\.so\.6|/\S+/libc-2\S+\.so)$", maps, re.M).group(1)


def redis_environments(environments):
    """Where the server links jemalloc, libc's own malloc has to be preloaded too."""
    if redis_server() and links_jemalloc() and "glibc" in environments:
        environments["glibc"] = {**environments["glibc"], "LD_PRELOAD": path_of_libc()}
    return environments


def redis_note():
    if not links_jemalloc():
        return None
    return ("this server links jemalloc; the preloaded allocator is bound in its place (checked), for glibc libc "
            "itself is preloaded. Jemalloc's library stays mapped, unused.")


def check_redis_binding(server, env):
    """Which library the server's malloc is bound to, as the loader says it."""
    said = subprocess.run([server, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          env={**env, "LD_DEBUG": "bindings", "LD_BIND_NOW": "1"}).stderr
    bound = re.search(r"binding file \S*redis\S* \[0\] to (\S+) \[0\]: normal symbol `malloc'", said)
    wanted = env.get("LD_PRELOAD") or path_of_libc()
    if not bound or os.path.realpath(bound.group(1)) != os.path.realpath(wanted):
        raise Failed(f"the server's malloc is bound to {bound.group(1) if bound else 'nothing'}, not to {wanted}")


def redis_fill(keys, seed, largest):
    source = random.Random(seed)
    for i in range(keys):
        size = source.randrange(16, largest)
        if i % 10 == 0:
            yield f"HSET hash:{i} name n{i} text {'h' * (size // 2)} more {'m' * (size // 4)}"
        yield f"SET key:{i} {'v' * size}"


def redis_delete(keys):
    source = random.Random(3)
    names = [f"key:{i}" for i in range(keys)] + [f"hash:{i}" for i in range(0, keys, 10)]
    source.shuffle(names)
    for i in range(0, len(names) * 9 // 10, 10):
        yield "DEL " + " ".join(names[i:i + 10])


class RedisClient:
    """Talks through a socket in the scratch directory: no port could be somebody else's."""

    def __init__(self, directory, scale):
        keys = 800 * scale
        self.socket = pathlib.Path(directory) / "redis.sock"
        self.phases = [write(directory, "fill", redis_fill(keys, 1, 800)),
                       write(directory, "delete", redis_delete(keys)),
                       write(directory, "refill", redis_fill(keys, 2, 1600))]
        self.requests = 1500 * scale

    def command(self, *words, **how):
        return subprocess.run(["redis-cli", "-s", str(self.socket), *words], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, **how)

    def wait_until_ready(self, process):
        end = time.monotonic() + START_S
        while self.command("ping").stdout.strip() != "PONG":
            if process.poll() is not None or time.monotonic() > end:
                raise Failed("the server did not start")
            time.sleep(0.01)

    def work(self):
        for file in self.phases:
            with open(file) as commands:
                done = self.command("--pipe", stdin=commands)
            if "errors: 0" not in done.stdout:
                raise Failed(f"the client said: {done.stdout.strip()}")
        keys = int(self.command("dbsize").stdout)
        subprocess.run(["redis-benchmark", "-s", str(self.socket), "-q", "-n", str(self.requests), "-r", "10000",
                        "-d", "300", "-P", "16", "-t", "set,get,lpush,lpop,hset"],
                       stdout=subprocess.DEVNULL, check=True)
        return keys

    def drive(self, process):
        self.wait_until_ready(process)
        began = time.monotonic()
        keys = self.work()
        took = time.monotonic() - began
        self.command("shutdown", "nosave")
        return {"time_s": took, "check": keys}


def redis_job(scale, directory):
    server = pathlib.Path(directory) / "redis-server"
    server.symlink_to(os.path.realpath(redis_server()))
    client = RedisClient(directory, scale)
    command = [server, "--port", "0", "--unixsocket", client.socket, "--save", "", "--appendonly", "no",
               "--daemonize", "no", "--dir", directory, "--loglevel", "warning"]
    if links_jemalloc():
        command += ["--jemalloc-bg-thread", "no"]
    return Job(command, drive=client.drive, check=lambda env: check_redis_binding(server, env))


def lacks_redis():
    return lacks_command("redis-cli", "redis-benchmark") or (None if redis_server() else "there is no redis-server")


def real_programs():
    return [
        Program("gcc", "gcc -O1 of a large file", "real", gcc_job, lambda: lacks_command("gcc")),
        Program("sqlite", "sqlite3 in memory", "real", sqlite_job, lambda: lacks_command("sqlite3")),
        Program("perl", "perl: hashes, strings, sorting", "real", perl_job, lambda: lacks_command("perl")),
        Program("redis", "redis filled, thinned out and filled again", "real", redis_job, lacks_redis, redis_note,
                redis_environments),
    ]
