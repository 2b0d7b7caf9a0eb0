"""Jobs in Python that live on small objects: jobs.py objects|json|regex|trees|dicts|strings SCALE

The scale is in percent. Prints key=value lines as the C programs beside it do; `pymalloc_blocks` says whether
CPython's own allocator was at work, which is 0 where its objects come from malloc.
"""
import json
import random
import re
import sys

WORDS = ("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon "
         "phi chi psi omega").split()


class Item:
    def __init__(self, number, next_item):
        self.number = number
        self.name = f"item {number}"
        self.next = next_item


def objects(scaled):
    """A window of linked objects that moves on; some stay for long."""
    window, kept, total = [None] * 20_000, [], 0
    for i in range(scaled(1_200_000)):
        place = i * 7919 % len(window)
        old = window[place]
        window[place] = Item(i, (i, [i, i + 1]))
        if old is not None:
            total += old.number + old.next[1][0]
            if i % 100 == 0:
                kept.append(old)
    return total + len(kept)


def documents(scaled):
    source = random.Random(1)
    record = [{"id": i, "name": source.choice(WORDS), "score": source.random(), "tags": source.sample(WORDS, 4),
               "nested": {"a": [i, i * 2, None], "b": {"text": "x" * source.randrange(200)}}} for i in range(5000)]
    total = 0
    for _ in range(scaled(40)):
        text = json.dumps(record)
        record = json.loads(text)
        total += len(text)
    return total


def regex(scaled):
    source = random.Random(2)
    lines = [f"{source.choice(WORDS)}={source.randrange(10**6)}; host{i}.example.org [{source.choice(WORDS)}] "
             f"{source.random():.6f} \"GET /{source.choice(WORDS)}/{i}\"" for i in range(20_000)]
    pattern = re.compile(r"(\w+)=(\d+); (\S+) \[(\w+)\] ([\d.]+) \"GET (\S+)\"")
    total = 0
    for _ in range(scaled(12)):
        found = [pattern.match(line).groups() for line in lines]
        parts = [re.split(r"[ =;/]+", line) for line in lines]
        replaced = [re.sub(r"\d+", lambda number: f"<{number.group()}>", line) for line in lines]
        total += sum(map(len, found)) + sum(map(len, parts)) + sum(map(len, replaced))
    return total


def build(depth):
    return (build(depth - 1), build(depth - 1)) if depth else (None, None)


def count(tree):
    return 1 + count(tree[0]) + count(tree[1]) if tree[0] is not None else 1


def trees(scaled):
    stays = build(16)
    total = 0
    for _ in range(scaled(50)):
        for depth in range(4, 15, 2):
            total += sum(count(build(depth)) for _ in range(1 << (14 - depth)))
    return total + count(stays)


def dicts(scaled):
    """Filled, thinned out at random to a tenth, and filled again."""
    source, total = random.Random(3), 0
    for _ in range(2):
        table = {}
        for filling in range(2):
            for i in range(scaled(140_000)):
                table[f"key {i}"] = [i, str(i)] if filling else {"value": i}
            keys = list(table)
            source.shuffle(keys)
            for key in keys[len(keys) // 10:]:
                del table[key]
            total += sum(map(len, table))
    return total


def strings(scaled):
    source = random.Random(4)
    total = 0
    for _ in range(scaled(60)):
        words = [source.choice(WORDS) + str(i) for i in range(60_000)]
        text = " ".join(words)
        lines = [text[i:i + 80] for i in range(0, len(text), 80)]
        changed = [line.upper().replace("A", "aa").strip() + "\n" for line in lines]
        joined = ""
        for line in changed:
            joined += line
        pieces = joined.split("1")
        total += len(joined) + len(pieces) + len({piece[:10] for piece in pieces})
    return total


JOBS = {"objects": objects, "json": documents, "regex": regex, "trees": trees, "dicts": dicts, "strings": strings}


def main():
    job, scale = JOBS[sys.argv[1]], int(sys.argv[2])
    print(f"check={job(lambda full: max(1, full * scale // 100))}")
    print(f"pymalloc_blocks={sys.getallocatedblocks()}")


main()
