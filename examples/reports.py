#!/usr/bin/env python3
"""A Python job as many are: it loads records, makes a report of them, keeps a little, and waits.

Three rounds: 150,000 orders are parsed from JSON lines and grouped by customer; a report goes to
stdout; one order in 500 is kept for later; then the job waits for half a second, as for a network
or a disk. What it prints depends on nothing but the numbers below, so two runs can be compared.
Python 3.9 or later, and only its standard library.
"""
import collections
import json
import random
import time

ROUNDS, ORDERS, CUSTOMERS, KEEP_ONE_IN, WAIT_S = 3, 150_000, 4_000, 500, 0.5


def lines(rng):
    """Orders as they may come from a queue or a file."""
    for number in range(ORDERS):
        yield json.dumps({"order": number, "customer": f"customer-{rng.randrange(CUSTOMERS)}", "cents": rng.randrange(100_000),
                          "items": [f"item-{rng.randrange(900)}" for _ in range(rng.randrange(1, 6))],
                          "note": "x" * rng.randrange(200)})


def group(orders):
    by_customer = collections.defaultdict(list)
    for order in orders:
        by_customer[order["customer"]].append(order)
    return by_customer


def report(by_customer):
    """The five best customers, and a sum over all."""
    totals = {name: sum(order["cents"] for order in orders) for name, orders in by_customer.items()}
    best = sorted(totals, key=lambda name: (-totals[name], name))[:5]
    return [f"{name}: {totals[name] / 100:.2f}" for name in best] + [f"all: {sum(totals.values()) / 100:.2f}"]


def main():
    rng, kept = random.Random(7), []
    for number in range(ROUNDS):
        orders = [json.loads(line) for line in lines(rng)]
        print(f"round {number + 1}", *report(group(orders)), sep="\n  ")
        kept += orders[::KEEP_ONE_IN]
        del orders
        time.sleep(WAIT_S)
    print(f"{len(kept)} orders kept")


main()
