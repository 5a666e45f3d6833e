"""The errors that rhat raises: one clear line each, saying what it got, what it expected, and what to do."""

__all__ = [
    "ArtifactError",
    "ContrastError",
    "DirectionError",
    "InterventionError",
    "JudgeError",
    "ModelError",
    "NonFiniteError",
    "PromptError",
    "RhatError",
    "SiteError",
    "StatisticsError",
    "StudyError",
    "TemplateError",
    "VerificationError",
]


class RhatError(Exception):
    """Any problem that the user can fix. The command line prints its one line and exits with code 2."""


class SiteError(RhatError):
    """A site (kind and layer) that this model does not have, or that cannot be parsed."""


class ModelError(RhatError):
    """A model that cannot be found, read, downloaded, or understood."""


class NonFiniteError(ModelError):
    """A forward pass whose values are NaN or infinite: nothing that follows from them means anything."""


class TemplateError(RhatError):
    """A chat template that is missing or cannot be applied."""


class PromptError(RhatError):
    """A prompt file or contrast set that cannot be used."""


class JudgeError(RhatError):
    """A judge of answers that cannot be found or used, or answers and labels that cannot be read."""


class ContrastError(RhatError):
    """A finder that was given too few or unusable activations."""


class DirectionError(RhatError):
    """A direction that is malformed or belongs to another model."""


class InterventionError(RhatError):
    """An intervention whose operator, sites, scope or numbers are invalid."""


class StatisticsError(RhatError):
    """A statistic that is undefined for the numbers given."""


class ArtifactError(RhatError):
    """A file of results, directions or a study folder that cannot be read or written."""


class StudyError(RhatError):
    """A study that cannot run as configured."""


class VerificationError(RhatError):
    """A study whose numbers differ from those computed from its per-prompt file."""
