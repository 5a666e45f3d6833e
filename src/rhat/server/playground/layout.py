"""The page's parts, from top to bottom: examples, prompt, settings, buttons, answers, the next turn."""

from __future__ import annotations

from typing import Any

import gradio as gr

from rhat.server.playground import dial, drawing
from rhat.server.playground.controls import FIRST, SHOWN_SCOPES, WHEN, example_name, layer_label
from rhat.server.playground.controls import scale as scale_of
from rhat.server.playground.conversation import TITLES
from rhat.server.playground.dose import Study, curve
from rhat.server.service import Service
from rhat.vocabulary import EXAMPLES, OPERATORS

Parts = dict[str, Any]  # Gradio's components, by the name of what they hold


def controls(service: Service, study: Study) -> Parts:
    """What the two answers are made of, and the parts of the slider."""
    first_name, first = next(iter(service.directions.started.items()))
    parts: Parts = {}
    with gr.Row(elem_classes="rhat-examples"):
        gr.HTML("<p>Examples:</p>", elem_classes="rhat-examples-label")
        parts["examples"] = [
            gr.Button(example_name(one), size="sm", elem_id=f"rhat-example-{i}") for i, one in enumerate(EXAMPLES)
        ]
    parts["prompt"] = gr.Textbox(
        label="Prompt",
        lines=1,
        max_lines=12,
        placeholder="Type a prompt and press Enter; Shift+Enter for a new line",
        elem_id="rhat-prompt",
    )
    with gr.Row(equal_height=False, elem_classes="rhat-settings"):
        with gr.Column(min_width=280):
            parts["op"] = gr.Dropdown(
                [(o.label, o.name) for o in OPERATORS.values()],
                value=FIRST.name,
                label="Operator",
                elem_id="rhat-op",
                filterable=False,
            )
            parts["scope"] = gr.Dropdown(
                SHOWN_SCOPES, value="all", label="Tokens (scope)", elem_id="rhat-scope", filterable=False
            )
            parts["direction"] = gr.Dropdown(
                list(service.directions.started),
                value=first_name,
                label="Direction",
                visible=len(service.directions.started) > 1,
                filterable=False,
                elem_id="rhat-direction",
            )
            parts["layer"] = gr.Slider(
                0,
                service.model.n_layers - 1,
                value=first.layer,
                step=1,
                elem_id="rhat-layer",
                label=layer_label(first),
                precision=0,
            )
        with gr.Column(min_width=280):
            parts |= _dial(service, study)
    with gr.Accordion("System prompt and more settings", open=False, elem_id="rhat-more"):
        parts |= _more_settings(service)
    return parts


def _dial(service: Service, study: Study) -> Parts:
    """The slider of the operator's number: α, the same in units beside it, the means and the held-out curve below."""
    r = next(iter(service.directions.started.values()))
    d = dial.Dial.of(r, FIRST.name)
    with gr.Group(elem_id="rhat-target-group"):
        return {
            "dial": gr.Slider(
                d.low,
                d.high,
                value=d.start,
                step=0.01,
                elem_id="rhat-dial",
                label=dial.slider_label(FIRST.name),
                min_width=140,
            ),
            "target": gr.Number(
                value=d.value(d.start), label=dial.number_label(FIRST.name), elem_id="rhat-target", min_width=100
            ),
            "marks": gr.HTML(dial.marks(r, FIRST.name), elem_id="rhat-target-marks"),
            "curve": gr.HTML(curve(study, r, FIRST.name), elem_id="rhat-curve"),
        }


def _more_settings(service: Service) -> Parts:
    most = service.settings.max_tokens
    parts: Parts = {
        "system": gr.Textbox(
            label="System prompt",
            lines=1,
            max_lines=8,
            placeholder="None given: the chat template's own, if it has one",
            elem_id="rhat-system",
        )
    }
    with gr.Row():
        parts |= {
            "where": gr.Dropdown(
                [("The operator's own choice", ""), ("Own layer", "own layer"), ("All layers", "all layers")],
                value="",
                label="Where",
                filterable=False,
                elem_id="rhat-where",
            ),
            "when": gr.Dropdown(list(WHEN.items()), value="", label="When", filterable=False, elem_id="rhat-when"),
            "max_tokens": gr.Slider(
                1,
                min(512, most),
                value=min(96, most),
                step=1,
                label="Most new tokens",
                elem_id="rhat-max-tokens",
                precision=0,
            ),
            "temperature": gr.Slider(0, 2, value=0, step=0.05, label="Temperature", elem_id="rhat-temperature"),
            "seed": gr.Number(value=0, label="Seed", precision=0, elem_id="rhat-seed"),
        }
    return parts


def buttons() -> Parts:
    """What answers, stops and copies, and the line that says what is going on."""
    with gr.Row(elem_classes="rhat-buttons"):
        made = {
            "go": gr.Button("Answer", variant="primary", elem_id="rhat-go"),
            "stop": gr.Button("Stop", elem_id="rhat-stop"),
            "link": gr.Button("Copy link", elem_id="rhat-link"),
            "python": gr.Button("Copy as Python", elem_id="rhat-python"),
            "curl": gr.Button("Copy as curl", elem_id="rhat-curl"),
        }
    return made | {"status": gr.HTML(status(""), elem_id="rhat-status")}


def status(text: str) -> str:
    """The line that says what is going on."""
    return f'<p role="status" class="rhat-status">{text or "&nbsp;"}</p>'


def outputs(service: Service) -> Parts:
    """The scale and the two answers."""
    parts: Parts = {
        "scale": gr.HTML(scale_of(service, next(iter(service.directions.started)), None), elem_id="rhat-scale")
    }
    with gr.Row(equal_height=False):
        for name, title in zip(("plain", "edited"), TITLES, strict=True):
            with gr.Column(min_width=320):
                parts[name] = gr.HTML(f"<h2>{title}</h2>{drawing.nothing_yet()}", elem_id=f"rhat-{name}")
    return parts


def next_turn() -> Parts:
    """Where the conversation goes on, once there is an answer."""
    with gr.Row(visible=False, elem_classes="rhat-next", equal_height=True) as row:
        return {
            "row": row,
            "next": gr.Textbox(
                label="Next turn",
                lines=1,
                max_lines=12,
                placeholder="Both conversations go on, each from its own answer",
                elem_id="rhat-next",
                scale=5,
            ),
            "reply": gr.Button("Go on", elem_id="rhat-reply", scale=1, min_width=120),
        }
