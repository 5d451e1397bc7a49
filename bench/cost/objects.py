"""objects -- objects, dicts, strings and JSON; everything freed by reference counts.

Usage: objects.py ROUNDS. Keeps some 200 MiB alive under PYTHONMALLOC=malloc and prints a sum.
"""
import gc
import json
import sys

RECORDS = 250000


class Record:
    def __init__(self, number):
        self.number = number
        self.name = "record %d" % number
        self.tags = [number % 7, number % 11, str(number % 101)]
        self.fields = {"size": number * 31 % 977, "kind": "kind %d" % (number % 50)}


def json_turn(records, start):
    """Through JSON and back, a slice at a time."""
    rows = [{"number": r.number, "name": r.name, "tags": r.tags, "fields": r.fields}
            for r in records[start:start + 20000]]
    return sum(row["fields"]["size"] for row in json.loads(json.dumps(rows)))


def words_turn(records, start):
    counts = {}
    for record in records[start:start + 40000]:
        for word in (record.name + " " + record.fields["kind"]).split():
            counts[word] = counts.get(word, 0) + 1
    return sum(sorted(counts.values())[-50:])


def replace_turn(records, turn):
    """A third of the live objects gives way to new ones."""
    for number in range(turn % 3, len(records), 3):
        records[number] = Record(number + turn)
    return records[turn % len(records)].number


def main():
    gc.disable()
    records = [Record(number) for number in range(RECORDS)]
    total = 0
    for turn in range(int(sys.argv[1])):
        start = turn * 20000 % (RECORDS - 40000)
        total += json_turn(records, start) + words_turn(records, start)
        total += replace_turn(records, turn)
    print(total)


if __name__ == "__main__":
    main()
