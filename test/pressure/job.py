#!/usr/bin/env python3
"""A nightly job: three batches of different shape, one after the other, each BYTES of live data at its peak.

usage: job.py BYTES

    orders      JSON records parsed to dicts, summed up by customer; one in 400 is kept for the audit
    documents   texts of 2 to 30 KiB, words counted; one in 200 is kept
    images      bytearrays of 1 to 4 MiB, histograms; nothing is kept

What is kept lies scattered between what is dropped, so a heap that cannot give back the pages between survivors holds
the peak of a batch while the next is built. What is live never exceeds BYTES by more than what was kept, some percent.

The last line on stdout is `checksum CRC`, the same under every allocator: how much a batch takes is told by
sys.getsizeof. Only the standard library is used, on Python 3.9 or later.
"""
import json
import sys
import zlib

KEEP_ORDER, KEEP_DOCUMENT = 400, 200
WORDS = ("tide", "harbour", "ebb", "flood", "anchor", "chart", "pilot", "lantern", "mooring", "current", "shoal")


def numbers(seed):
    """A linear congruential generator: the same on every machine and version."""
    while True:
        seed = (seed * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        yield seed >> 33


def size_of(value):
    """With everything inside. Nothing in the data is shared."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(size_of(k) + size_of(v) for k, v in value.items())
    return size + sum(map(size_of, value)) if isinstance(value, list) else size


def say(batch, pieces, bytes_live):
    print(f"{batch} {pieces} pieces {bytes_live / 1e6:.0f} MB live", flush=True)


# ---- orders ----

def order_lines():
    rng = numbers(1)
    i = 0
    while True:
        i += 1
        items = ", ".join(f'{{"sku": "SKU-{next(rng) % 90000:05d}", "count": {next(rng) % 900 + 300}, "price": {next(rng) % 9999 / 100}}}'
                          for _ in range(1 + next(rng) % 3))
        note = " ".join(WORDS[next(rng) % len(WORDS)] for _ in range(next(rng) % 12))
        yield (f'{{"id": {i + 1000000}, "customer": "customer {next(rng) % 5000}", "items": [{items}], '
               f'"paid": {str(bool(next(rng) % 2)).lower()}, "note": "{note}"}}')


def load_orders(limit):
    """Every 16th is measured for all."""
    orders, size = [], 0
    for line in order_lines():
        order = json.loads(line)
        if len(orders) % 16 == 0:
            size += 16 * size_of(order)
        orders.append(order)
        if size >= limit:
            say("orders", len(orders), size)
            return orders


def order_batch(limit):
    orders = load_orders(limit)
    totals = {}
    for order in orders:
        cents = sum(item["count"] * round(item["price"] * 100) for item in order["items"])
        totals[order["customer"]] = totals.get(order["customer"], 0) + cents
    return orders[::KEEP_ORDER], zlib.crc32(repr(sorted(totals.items())).encode())


# ---- documents ----

def document_batch(limit):
    rng = numbers(2)
    documents, size, counts = [], 0, {}
    while size < limit:
        words = [WORDS[next(rng) % len(WORDS)] for _ in range(40)]
        document = " ".join(words) + "\n"
        document *= (2048 + next(rng) % 28672) // len(document) + 1
        for word in words:
            counts[word] = counts.get(word, 0) + document.count("\n")
        documents.append(document)
        size += sys.getsizeof(document)
    say("documents", len(documents), size)
    return documents[::KEEP_DOCUMENT], zlib.crc32(repr(sorted(counts.items())).encode())


# ---- images ----

def image_batch(limit):
    rng = numbers(3)
    images, size, crc = [], 0, 0
    while size < limit:
        image = bytearray(bytes(range(256))[next(rng) % 200:]) * ((1 << 20) // 256)
        image *= 1 + next(rng) % 4
        images.append(image)
        size += sys.getsizeof(image)
    for image in images:
        crc = zlib.crc32(b"%d %d" % (len(image), image.count(77)), crc)
    say("images", len(images), size)
    return crc


def main():
    limit = int(sys.argv[1])
    audit, crc_orders = order_batch(limit)
    quotes, crc_documents = document_batch(limit)
    crc_images = image_batch(limit)
    kept = repr(audit).encode() + "".join(quotes).encode()
    print(f"checksum {zlib.crc32(kept, crc_orders ^ crc_documents ^ crc_images):08x}")


main()
