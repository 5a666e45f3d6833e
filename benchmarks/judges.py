"""How well a judge reads the labelled answers of the test split: the tables of docs/judging.md.

python benchmarks/judges.py [JUDGE]

With a tokenizer.json it prints instead how well the judge reads openings of so many tokens (docs/method.md):

python benchmarks/judges.py JUDGE TOKENIZER
"""

import sys
from collections import Counter

from rhat.scoring.gate import hold
from rhat.scoring.judges import CLASSES, DEFAULT, find_judge
from rhat.scoring.labelled import labelled_answers
from rhat.statistics.classes import class_accuracy, class_kappa

LENGTHS = (8, 16, 24, 40, 64, 160)


def shown(interval):
    if interval is None:
        return "–"
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}] of {interval.n}"


def openings(judge, file):
    """How well a judge reads the first tokens of the labelled answers, cut by a tokenizer's file."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(file)
    print("| tokens | sensitivity for refused | specificity |\n| --- | --- | --- |")
    for n in LENGTHS:
        held = hold(judge, lambda text, n=n: tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids[:n]))
        accuracy = held.accuracy("refused")
        print(f"| {n} | {shown(accuracy.sensitivity)} | {shown(accuracy.specificity)} |")


def main():
    judge = find_judge(sys.argv[1] if len(sys.argv) > 1 else DEFAULT)
    if len(sys.argv) > 2:
        openings(judge, sys.argv[2])
        return
    rows = labelled_answers("test")
    judgements = judge([r.prompt for r in rows], [r.answer for r in rows])
    told = [(r, j.label) for r, j in zip(rows, judgements, strict=True) if j is not None]
    labels, found = [r.label for r, _ in told], [label for _, label in told]
    print(f"judge {judge.name} {judge.version}: {len(rows)} test answers, {len(rows) - len(told)} not told\n")
    print("| class | sensitivity [95 %] | specificity [95 %] |\n| --- | --- | --- |")
    for name in CLASSES:
        accuracy = class_accuracy(labels, found, name)
        print(f"| {name} | {shown(accuracy.sensitivity)} | {shown(accuracy.specificity)} |")
    print(f"\nkappa {shown(class_kappa(labels, found))}\n")
    for key in ("language", "style", "trap"):
        print(f"| {key} | sensitivity for refused | specificity |\n| --- | --- | --- |")
        for value in dict.fromkeys(getattr(r, key) for r in rows):
            some = [(r.label, label) for r, label in told if getattr(r, key) == value]
            accuracy = class_accuracy(*zip(*some, strict=True), "refused")
            print(f"| {value} | {shown(accuracy.sensitivity)} | {shown(accuracy.specificity)} |")
        print()
    print(dict(Counter((r.label, label) for r, label in told)))


if __name__ == "__main__":
    main()
