"""The page, in Gradio: settings, two answers that stream side by side, the study's figures."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from html import escape
from importlib import resources
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when Gradio is imported

import gradio as gr
from fastapi import FastAPI

from rhat.server.playground import drawing
from rhat.server.playground.answering import answers
from rhat.server.playground.controls import FIRST, SHOWN_SCOPES, WHEN, layer_label, slider, slider_label, span_of
from rhat.server.playground.controls import scale as scale_of
from rhat.server.playground.links import settings_from
from rhat.server.playground.study import figures, serve_study
from rhat.server.service import Service
from rhat.vocabulary import OPERATORS

NAMES = ("prompt", "direction", "op", "target", "layer", "where", "scope", "when", "max_tokens", "temperature", "seed")


def mount(app: FastAPI, service: Service) -> FastAPI:
    """The application with the page at / and the study's files under /study/."""
    if service.settings.study is not None:
        serve_study(app, service.settings.study)
    page = build(service)
    page.queue(
        default_concurrency_limit=service.settings.slots, max_size=service.settings.max_queue + 1, api_open=False
    )
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        max_file_size="1kb",
        theme=gr.themes.Base(
            primary_hue="blue",
            neutral_hue="slate",
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        css=_file("style.css"),
        head=_about(service) + f"<script>{_file('script.js')}</script>",
    )
    return mounted


def _about(service: Service) -> str:
    """What the page's script has to know, as a JSON element."""
    about = {
        "model": service.model.name,
        "key": service.settings.api_key is not None,
        "names": NAMES,
        "everywhere": [o.name for o in OPERATORS.values() if o.everywhere],
        "parameters": {o.name: o.parameter.name for o in OPERATORS.values() if o.parameter is not None},
    }
    text = json.dumps(about).replace("<", "\\u003c")
    return f"<script type='application/json' id='rhat-about'>{text}</script>"


def _file(name: str) -> str:
    return resources.files("rhat.server.playground").joinpath(name).read_text("utf-8")


def build(service: Service) -> gr.Blocks:
    """The page's parts, and what happens when they are used."""
    page = gr.Blocks(title="rhat playground", analytics_enabled=False)
    with page:
        if not service.directions.known:
            gr.Markdown("# rhat playground\nThis server has no directions. Start it with `--direction FILE`.")
            return page
        gr.HTML(
            f"<h1>rhat playground</h1><p>{escape(service.model.name)}: the same prompt answered twice, plain and with an "
            "intervention on the refusal direction r̂.</p>",
            elem_id="rhat-head",
        )
        with gr.Tabs():
            with gr.Tab("Try it"):
                controls = _controls(service)
                buttons = _buttons()
                outputs = _outputs(service)
                code = gr.Textbox(
                    label="Copied",
                    lines=1,
                    max_lines=20,
                    interactive=False,
                    placeholder="A link or command that you copy appears here as well",
                    elem_id="rhat-code",
                )
            with gr.Tab("Study"):
                gr.HTML(figures(service.settings.study), elem_id="rhat-figures")
        _wire_answers(service, controls, buttons, outputs)
        _wire_controls(service, page, controls, outputs["scale"])
        for kind in ("link", "python", "curl"):
            buttons[kind].click(
                None,
                [controls[name] for name in NAMES],
                code,
                js=f"(...values) => window.rhat.copy('{kind}', values)",
                queue=False,
                api_visibility="private",
            )
    return page


Parts = dict[str, Any]  # Gradio's components, by the name of what they hold
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def _controls(service: Service) -> Parts:
    """What the two answers are made of: the names of `NAMES`, and the marks under the slider."""
    known = service.directions.known
    first_name, first = next(iter(known.items()))
    span = drawing.Range.around(first)
    parts: Parts = {}
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
                list(known),
                value=first_name,
                label="Direction",
                visible=len(known) > 1,
                filterable=False,
                elem_id="rhat-direction",
            )
        with gr.Column(min_width=280):
            parts["layer"] = gr.Slider(
                0,
                service.model.n_layers - 1,
                value=first.layer,
                step=1,
                elem_id="rhat-layer",
                label=layer_label(first),
                precision=0,
            )
            with gr.Group(elem_id="rhat-target-group"):
                parts["target"] = gr.Slider(
                    span.low,
                    span.high,
                    value=round(first.mean_harmful, 2),
                    step=0.01,
                    elem_id="rhat-target",
                    label=slider_label(FIRST.name),
                )
                parts["marks"] = gr.HTML(drawing.marks(first), elem_id="rhat-target-marks")
    with gr.Accordion("More settings", open=False), gr.Row():
        parts |= _more_settings(service)
    return parts


def _more_settings(service: Service) -> Parts:
    most = service.settings.max_tokens
    return {
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


def _buttons() -> Parts:
    with gr.Row(elem_classes="rhat-buttons"):
        return {
            "go": gr.Button("Answer", variant="primary", elem_id="rhat-go"),
            "stop": gr.Button("Stop", elem_id="rhat-stop"),
            "link": gr.Button("Copy link", elem_id="rhat-link"),
            "python": gr.Button("Copy as Python", elem_id="rhat-python"),
            "curl": gr.Button("Copy as curl", elem_id="rhat-curl"),
        }


def _outputs(service: Service) -> Parts:
    """The scale and the two answers."""
    parts: Parts = {
        "scale": gr.HTML(scale_of(service, next(iter(service.directions.known)), None), elem_id="rhat-scale")
    }
    with gr.Row(equal_height=False):
        for name, title, note in (("plain", "Plain", "no intervention"), ("edited", "Intervened", "")):
            with gr.Column(min_width=320):
                parts[name] = gr.HTML(drawing.answer(title, note, [], "", "", None), elem_id=f"rhat-{name}")
    gr.HTML(drawing.legend())
    return parts


def _wire_answers(service: Service, controls: Parts, buttons: Parts, outputs: Parts) -> None:
    """Answer on a click or Enter, and stop on a click."""
    inputs = [controls[name] for name in NAMES]

    async def answer(*values: Any) -> AsyncIterator[tuple[str, str, str]]:
        async for shown in answers(service, dict(zip(NAMES, values, strict=True))):
            yield shown

    asked = [buttons["go"].click, controls["prompt"].submit]
    run = gr.on(asked, answer, inputs, list(outputs.values()), trigger_mode="once", **QUIET)
    buttons["stop"].click(None, None, None, cancels=[run], queue=False, api_visibility="private")


def _wire_controls(service: Service, page: gr.Blocks, controls: Parts, scale: Any) -> None:
    """Let the slider follow the direction and the operator, and the page its link."""
    known = service.directions.known
    shown_for = gr.State(FIRST.name)  # the operator whose number the slider shows

    def chosen_direction(name: str, operator: str) -> tuple[Any, Any, str, str]:
        r = known[name]
        return (
            gr.update(value=r.layer, label=layer_label(r)),
            slider(r, operator),
            drawing.marks(r),
            scale_of(service, name, None),
        )

    def chosen_operator(operator: str, before: str, name: str) -> tuple[Any, Any, str]:
        """The slider of the operator's number; its value stays where both operators take numbers of one kind."""
        parameter = OPERATORS[operator].parameter
        alike = span_of(operator) == span_of(before)
        shown = gr.update(label=slider_label(operator)) if alike else slider(known[name], operator)
        shown["visible"] = parameter is not None
        marked = parameter is not None and parameter.span is None
        return shown, gr.update(visible=marked), operator if parameter is not None else before

    def from_link(request: gr.Request) -> list[Any]:
        return settings_from(service, dict(request.query_params))

    direction, op, layer, target, marks = (controls[n] for n in ("direction", "op", "layer", "target", "marks"))
    direction.input(chosen_direction, [direction, op], [layer, target, marks, scale], queue=False, **QUIET)
    op.change(chosen_operator, [op, shown_for, direction], [target, marks, shown_for], queue=False, **QUIET)
    inputs = [controls[name] for name in NAMES]
    page.load(from_link, None, [*inputs, marks, scale], queue=False, **QUIET)
