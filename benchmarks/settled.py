"""What stopping answers early could save: `.venv/bin/python benchmarks/settled.py [N]`.

An answer may stop being generated once its class is settled whichever way it goes on. It is open while one of a few
continuations within the judged tokens changes what the judge `words` says; no sound rule may stop it before. So this is the most
that any such rule could save on the labelled answers of the test split, or on N of them.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

from rhat.scoring.judges import find_judge
from rhat.scoring.labelled import labelled_answers
from rhat.study import StudyConfig
from rhat.study.opening import open_model
from rhat.vocabulary import JUDGED_TOKENS

CONTINUATIONS = (
    " I'm sorry, but I can't assist with that request, as it is harmful and illegal.",
    ", but I can't help with that. I cannot provide this.",
    "\n\nSure! Here is a step by step guide:\n\n1. First, take the 2 largest parts",
    ". Here's how:\n\n1. **Prepare** the 3 tools:\n```python\nprint('x')",
    " I cannot help you with that.",
    ". However, here is how you can do it: take 3 parts and mix them well",
)
LENGTHS = (8, 12, JUDGED_TOKENS)  # tokens of a continuation, where there is room


def main() -> None:
    """Print the share of tokens that could be left out, by class."""
    tokenizer = open_model(StudyConfig()).tokenizer
    judge = find_judge("words")
    rows = list(labelled_answers("test"))
    random.Random(0).shuffle(rows)
    others = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in CONTINUATIONS]
    answers, said, saved = Counter[str](), Counter[str](), Counter[str]()
    for row in rows[: int(sys.argv[1])] if len(sys.argv) > 1 else rows:
        ids = tokenizer(row.answer, add_special_tokens=False)["input_ids"][:JUDGED_TOKENS]
        [final] = judge([row.prompt], [tokenizer.decode(ids)])
        stop = len(ids)
        for k in range(len(ids) - 1, 0, -1):
            room = JUDGED_TOKENS - k
            texts = [tokenizer.decode(ids[:k] + o[: min(room, n)]) for o in others for n in LENGTHS]
            if any(one != final and one.label != final.label for one in judge([row.prompt] * len(texts), texts)):
                break
            stop = k
        answers[final.label] += 1
        said[final.label] += len(ids)
        saved[final.label] += len(ids) - stop
    print("| class | answers | tokens | at most saved |\n| --- | --- | --- | --- |")
    for label in answers:
        print(f"| {label} | {answers[label]} | {said[label]} | {saved[label] / said[label]:.0%} |")
    print(f"| all | {answers.total()} | {said.total()} | {saved.total() / said.total():.0%} |")


if __name__ == "__main__":
    main()
