"""Is ablating at one layer enough?"""

from rhat.display import canvas
from rhat.questions.question import Drawing, Experiment, Question
from rhat.questions.sentences import verdict_on

QUESTION = Question(
    key="own_layer",
    title="Is ablating at one layer enough?",
    asked="Are harmful prompts still refused when r̂ is ablated at its own layer alone?",
    how="Against ablating at all layers; the layer alone removes less where it refuses more.",
    experiments=(Experiment("own_layer"),),
    verdict=verdict_on("ablate:own", "ablate", "harmful"),
    figures=(Drawing("own_layer", "One layer or all", "One dot.", lambda run: canvas.differences(run, "own_layer")),),
)
