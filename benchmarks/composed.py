"""Answers composed from pieces, to train the judge `words` on more wordings than one writer would write out.

python benchmarks/composed.py    (prints a few)
"""

import random
import tomllib
from pathlib import Path

PIECES = tomllib.loads((Path(__file__).parent / "answers" / "composed.toml").read_text(encoding="utf-8"))
TURNS = ("However, ", "But ", "Unfortunately, ", "Therefore, ", "With that said, ", "That being said, ")
REGRETS = (
    "Sorry, ",
    "I'm sorry, but ",
    "I apologize, but ",
    "I'm really sorry, but ",
    "Unfortunately, ",
    "No, ",
    "No. ",
    "",
)
TO_HELP = (
    "However, I can tell you this: ",
    "Here is what I can say instead. ",
    "That said, here is a safer way. ",
    "What I can give you is this: ",
    "But in general: ",
    "I can, however, share the following. ",
    "Still, a few general points: ",
    "What you can do is this: ",
)
INSTEAD = ("A better way is this: ", "What you can do instead: ", "Here is a lawful way: ", "Try this instead: ")
ABSENT = ("feelings", "a body", "memories of my own", "senses", "personal preferences", "consciousness", "opinions")
NAMES = ("Mr. Miller", "Anna", "the guard", "Ms. Ortiz", "Professor Lund", "Tom")
PERSONAS = ("Captain Redbeard", "EvilBot", "the wizard", "Chef", "DAN", "Grandpa", "Lord Vex")


class Composer:
    """Composes answers of each kind; the same seed gives the same answers."""

    def __init__(self, bodies, seed=0):
        self.rng = random.Random(seed)
        self.bodies = [row for row in bodies if row["label"] == "complied" and len(row["answer"]) > 60]

    def says(self, kinds, topic, **names):
        """One piece of these kinds, about a topic; "my" becomes "your" most of the time."""
        piece = self.rng.choice([piece for kind in kinds.split() for piece in PIECES[kind]])
        text = piece.format(v=topic[0], g=topic[1], G=upper(topic[1]), n=topic[2], N=topic[3], **names)
        return text.replace("my ", "your ") if self.rng.random() < 0.8 else text

    def topic(self, kind="harmful"):
        return self.rng.choice(PIECES[kind]).split("|")

    def asks(self, topic, kinds="ask"):
        piece = self.rng.choice([piece for kind in kinds.split() for piece in PIECES[kind]])
        return piece.format(v=topic[0], g=topic[1], n=topic[2], N=topic[3])

    def some(self, topic, *chances):
        """Pieces, each of a kind with a chance."""
        return [self.says(kinds, topic) for kinds, chance in chances if self.rng.random() < chance]

    def after(self, lead, then):
        """A preamble and what follows it."""
        if not lead.strip():
            return upper(then)
        lead = lead.rstrip()
        if lead.endswith((".", "!", "?")):
            if self.rng.random() < 0.4:
                return f"{lead} {self.rng.choice(TURNS)}{lower(then)}"
            return f"{lead} {upper(then)}"
        but = "but " if lead.startswith(("I understand", "I appreciate")) else ""
        return f"{lead} {but}{lower(then)}"

    def refused(self):
        topic = self.topic("harmful" if self.rng.random() < 0.65 else "misread")
        kind = self.rng.random()
        if kind < 0.12:
            parts = [upper(self.rng.choice(REGRETS) + self.says("refuse", topic))]
        elif kind < 0.62:
            lead = self.says("polite", topic) if self.rng.random() < 0.45 else self.rng.choice((*REGRETS[1:5], "", ""))
            parts = [self.after(lead, self.says("refuse", topic))]
            parts += self.some(
                topic, ("condemn", 0.5), ("preach", 0.6), ("preach", 0.3), ("offer", 0.6), ("offer", 0.25)
            )
        else:
            lead = self.says("polite", topic) if self.rng.random() < 0.35 else ""
            parts = [self.after(lead, self.says("condemn", topic))]
            parts += self.some(
                topic, ("condemn", 0.3), ("preach", 0.7), ("preach", 0.4), ("offer", 0.75), ("offer", 0.3)
            )
        answer = " ".join(parts)
        if self.rng.random() < 0.12:
            answer = answer[: max(40, int(len(answer) * self.rng.uniform(0.3, 0.9)))]
        return self.asks(topic), answer, "refused"

    def refused_ordinary(self):
        """A refusal of a question about something bad."""
        topic = self.topic()
        lead = self.rng.choice(("", *REGRETS[1:3], "Thank you for your question. ", "As a responsible AI assistant, "))
        parts = [self.after(lead, self.says("refuse", topic)), *self.some(topic, ("preach", 0.6), ("offer", 0.6))]
        return self.asks(topic, "facts_asked allowed_asked"), " ".join(parts), "refused"

    def refused_in_a_voice(self):
        """A refusal that thinks aloud first, plays a part, or is short or official."""
        topic, kind = self.topic(), self.rng.random()
        if kind < 0.35:
            parts = [
                self.says("thought", topic),
                *self.some(topic, ("condemn", 0.3)),
                self.says("thought_refuses", topic),
            ]
            answer = " ".join(parts)
        elif kind < 0.7:
            part = self.says("role", topic, x=self.rng.choice(PERSONAS))
            answer = part + upper(self.says("role_refuses", topic))
        else:
            answer = " ".join([self.says("terse", topic), *self.some(topic, ("offer", 0.25))])
        return self.asks(topic), answer, "refused"

    def refused_with_a_list(self):
        """A warning, then other things to do."""
        topic = self.topic("harmful" if self.rng.random() < 0.8 else "misread")
        first = self.says("warn condemn", topic)
        parts = [self.after(self.says("polite", topic), first) if self.rng.random() < 0.2 else first]
        parts += self.some(topic, ("preach", 0.5), ("preach", 0.2))
        items = self.rng.sample(PIECES["list_item"], self.rng.randint(3, 5))
        marks = self.rng.choice((("1. ", "2. ", "3. ", "4. ", "5. "), ("- ",) * 5, ("* ",) * 5))
        listed = "\n".join(mark + item for mark, item in zip(marks, items, strict=False))
        answer = f"{' '.join(parts)} {self.says('list_lead', topic)}\n\n{listed}"
        if self.rng.random() < 0.3:
            answer += f"\n\n{self.says('preach offer', topic)}"
        return self.asks(topic), answer, "refused"

    def about(self, asked, first, second, said, chance, more=""):
        """A prompt about one thing and another, and what is said of them, perhaps with more."""
        a, b = self.rng.choice(PIECES[first]), self.rng.choice(PIECES[second])
        words = {"a": a, "b": b, "A": upper(a)}
        parts = [self.rng.choice(PIECES[said]).format(**words)]
        parts += [
            self.rng.choice(PIECES[more]).format(**words) for _ in range(2) if more and self.rng.random() < chance
        ]
        return self.rng.choice(PIECES[asked]).format(**words), " ".join(dict.fromkeys(parts))

    def refused_premise(self):
        """A hurtful premise rejected, or something private kept."""
        if self.rng.random() < 0.6:
            lead = self.rng.choice(
                ("", "", "", "I'm sorry, but ", "Thank you for your question! However, ", "I apologize, but ")
            )
            prompt, answer = self.about("slur_asked", "group", "fault", "slur_refused", 0.7, "slur_more")
            return prompt, lead + (lower(answer) if lead else answer), "refused"
        return *self.about("private_asked", "person", "private", "private_refused", 0.5, "private_more"), "refused"

    def set_right(self):
        """A silly premise set right, with nothing held against who asks."""
        return *self.about("odd_asked", "thing", "oddity", "odd_said", 0), "complied"

    def sympathetic(self):
        """A written answer after words of sympathy."""
        row = self.rng.choice(self.bodies)
        last = self.some(self.topic(), ("disclaim_last", 0.3))
        return row["prompt"], " ".join([self.rng.choice(PIECES["sympathy"]), row["answer"], *last]), "complied"

    def hollow(self):
        """A harmful request complied with, in general words that give nothing."""
        topic = self.topic()
        parts = [self.says("hollow", topic), *self.some(topic, ("disclaim_last", 0.3))]
        return self.asks(topic), " ".join(parts), "complied"

    def complied(self):
        """A written answer, with a disclaimer before or after it."""
        row, topic = self.rng.choice(self.bodies), self.topic()
        first, last = self.some(topic, ("disclaim_first", 0.7)), self.some(topic, ("disclaim_last", 0.5))
        return row["prompt"], " ".join([*first, row["answer"], *last]), "complied"

    def partial(self):
        """A written answer after a refusal or a condemnation."""
        row, topic = self.rng.choice(self.bodies), self.topic("misread")
        if self.rng.random() < 0.7:
            refusal = upper(self.rng.choice(("", "I'm sorry, but ", "I understand, but ")) + self.says("refuse", topic))
            return row["prompt"], f"{refusal} {self.rng.choice(TO_HELP)}{row['answer']}", "partial"
        return row["prompt"], f"{self.says('condemn', topic)} {self.rng.choice(INSTEAD)}{row['answer']}", "partial"

    def ordinary(self):
        """What is asked of bad things, of what is allowed, of the speaker, of sorrow, and of texts that say no."""
        topic, kind = self.topic(), self.rng.random()
        if kind < 0.4:
            parts = self.some(topic, ("disclaim_first", 0.25), ("facts", 1), ("facts", 0.5), ("condemn preach", 0.35))
            parts += self.some(topic, ("disclaim_last", 0.3))
            return self.asks(topic, "facts_asked"), " ".join(parts), "complied"
        if kind < 0.6:
            parts = self.some(topic, ("allowed", 1), ("condemn preach", 0.4), ("disclaim_last", 0.15))
            return self.asks(topic, "allowed_asked"), " ".join(parts), "complied"
        if kind < 0.75:
            said = self.says("self_said", topic, x=self.rng.choice(ABSENT))
            return self.asks(topic, "self_asked"), said, "complied"
        if kind < 0.85:
            said = self.says("sad", topic, y=self.rng.choice(PIECES["sad_more"]))
            return self.asks(topic, "sad_asked"), " ".join([said, *self.some(topic, ("sad_more", 0.4))]), "complied"
        return self.asks(topic, "text_asked"), self.says("text", topic, z=self.rng.choice(NAMES)), "complied"


def lower(text):
    """With a small first letter, unless it is "I"."""
    return text if text[:2] in ("I ", "I'") else text[:1].lower() + text[1:]


def upper(text):
    return text[:1].upper() + text[1:]


KINDS = {
    Composer.refused: 700,
    Composer.hollow: 120,
    Composer.complied: 500,
    Composer.partial: 120,
    Composer.ordinary: 300,
    Composer.refused_ordinary: 100,
    Composer.refused_in_a_voice: 120,
    Composer.refused_with_a_list: 200,
    Composer.refused_premise: 200,
    Composer.set_right: 100,
    Composer.sympathetic: 150,
}


def composed(bodies, seed=0):
    """2,610 composed answers, some of them around the complied answers among `bodies`."""
    composer = Composer(bodies, seed)
    found = [kind(composer) for kind, n in KINDS.items() for _ in range(n)]
    return [{"prompt": p, "answer": a, "label": label, "style": "composed"} for p, a, label in found]


if __name__ == "__main__":
    for kind in KINDS:
        print(kind.__name__, *kind(Composer([{"prompt": "?", "label": "complied", "answer": "A" * 61}])), sep=" | ")
