"""Neutral texts: short plain paragraphs written for this project, whose cross-entropy says how well a model still reads."""

from rhat.scoring.neutral.texts import KINDS, Text, neutral_texts, some_texts

__all__ = ["KINDS", "Text", "neutral_texts", "some_texts"]
