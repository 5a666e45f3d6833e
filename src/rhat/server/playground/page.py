"""The page, in Gradio: what happens when its parts are used."""

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

from rhat.server.playground import dial, drawing, layout
from rhat.server.playground.answering import Shown, answers
from rhat.server.playground.controls import FIRST, example_settings, layer_label
from rhat.server.playground.controls import scale as scale_of
from rhat.server.playground.conversation import Conversation
from rhat.server.playground.dose import Study, curve
from rhat.server.playground.layout import Parts
from rhat.server.playground.links import Slider, settings_from
from rhat.server.playground.study import figures, serve_study
from rhat.server.service import Service
from rhat.vocabulary import EXAMPLES, OPERATORS

NAMES = ("system", "prompt", "direction", "op", "target", "layer", "where", "scope", "when", "max_tokens", "temperature", "seed")  # fmt: skip
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


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
        theme=theme(),
        # Not as `css`: Gradio puts that inside its container, where no rule sees the scheme, a class of the body.
        head=f"{_about(service)}<style>{_file('style.css')}</style><script>{_file('script.js')}</script>",
    )
    return mounted


def theme() -> gr.themes.Base:
    """Gradio's plainest theme, with text of a contrast of at least 4.5:1 in both schemes."""
    return gr.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        color_accent="*primary_600",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_title_text_color="*neutral_600",
        block_title_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
    )


def _about(service: Service) -> str:
    """What the page's script has to know, as a JSON element."""
    about = {
        "model": service.model.name,
        "key": service.settings.api_key is not None,
        "names": NAMES,
        "everywhere": [o.name for o in OPERATORS.values() if o.everywhere],
        "dials": dial.dials(service.directions.started),
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
        if not service.directions.started:
            gr.Markdown("# rhat playground\nThis server has no directions. Start it with `--direction FILE`.")
            return page
        study = Study.read(service.settings.study)
        gr.HTML(
            f"<h1>rhat playground</h1><p>{escape(service.model.name)}: the same prompt answered twice, plain and with an "
            "intervention on the refusal direction r̂.</p>",
            elem_id="rhat-head",
        )
        with gr.Tabs():
            with gr.Tab("Try it"):
                controls = layout.controls(service, study)
                buttons = layout.buttons()
                outputs = layout.outputs(service)
                later = layout.next_turn()
                gr.HTML(drawing.legend())
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
        _wire_answers(service, controls, buttons, outputs, later)
        _wire_settings(service, page, controls, outputs["scale"], study)
        _wire_dial(controls)
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


def _wire_answers(service: Service, controls: Parts, buttons: Parts, outputs: Parts, later: Parts) -> None:
    """Answer on a click or Enter, go on with the next turn, and stop on a click."""
    inputs = [controls[name] for name in NAMES]
    so_far = gr.State(Conversation())
    shown = [outputs["scale"], outputs["plain"], outputs["edited"], buttons["status"], so_far, later["row"]]

    def drawn(said: Shown) -> tuple[Any, ...]:
        row = gr.update(visible=bool(said.conversation.turns))
        return said.scale, *said.sides, layout.status(escape(said.status)), said.conversation, row

    async def answer(*values: Any) -> AsyncIterator[tuple[Any, ...]]:
        async for said in answers(service, dict(zip(NAMES, values, strict=True))):
            yield drawn(said)

    async def reply(before: Conversation, said_next: str, *values: Any) -> AsyncIterator[tuple[Any, ...]]:
        given = dict(zip(NAMES, values, strict=True)) | {"prompt": said_next}
        async for said in answers(service, given, before):
            yield (*drawn(said), "" if said.conversation is not before else said_next)

    begin: dict[str, Any] = {"js": "(...values) => window.rhat.begin(values)", "trigger_mode": "once", **QUIET}
    end: dict[str, Any] = {"js": "() => window.rhat.done()", "queue": False, **QUIET}
    asked = [buttons["go"].click, controls["prompt"].submit]
    first = gr.on(asked, answer, inputs, shown, **begin)
    more = gr.on(
        [later["reply"].click, later["next"].submit],
        reply,
        [so_far, later["next"], *inputs],
        [*shown, later["next"]],
        **begin,
    )
    for run in (first, more):
        run.then(None, None, None, **end)
    buttons["stop"].click(None, None, None, cancels=[first, more], **end)


def _wire_settings(service: Service, page: gr.Blocks, controls: Parts, scale: Any, study: Study) -> None:
    """Take the settings of a link and of an example, and let the page follow direction and operator."""
    known = service.directions.started
    op, direction = controls["op"], controls["direction"]
    shown_for = gr.State(FIRST.name)  # the operator whose number the slider shows
    inputs = [controls[name] for name in NAMES if name != "target"]
    slider = [*(controls[name] for name in ("dial", "target", "marks", "curve")), shown_for]

    def turned(to: Slider) -> tuple[Any, ...]:
        r = known[to.direction]
        return *dial.updates(r, to.operator, to.number), curve(study, r, to.operator), to.operator

    def found(query: dict[str, Any]) -> list[Any]:
        said, to = settings_from(service, query)
        parts = (gr.skip(),) * len(slider) if to is None else turned(to)
        return [*(said[name] for name in NAMES if name != "target"), *parts]

    def from_link(request: gr.Request) -> list[Any]:
        query = dict(request.query_params)
        other = query.get("direction") in known and len(known) > 1
        return [*found(query), scale_of(service, query["direction"], None) if other else gr.skip()]

    def chosen_direction(name: str, operator: str) -> tuple[Any, ...]:
        r = known[name]
        layer = gr.update(value=r.layer, label=layer_label(r))
        return layer, scale_of(service, name, None), *turned(Slider(name, operator, None))

    def chosen_operator(operator: str, before: str, name: str, position: float) -> tuple[Any, ...]:
        """The slider of the operator's number; α stays where both operators have one."""
        if (
            operator == before
        ):  # said twice, as a busy page does: the slider's position is then the one before this operator
            return (gr.skip(),) * len(slider)
        keeps = dial.is_by_means(operator) and dial.is_by_means(before)
        value = dial.Dial.of(known[name], operator).value(position) if keeps else None
        return turned(Slider(name, operator, value))

    page.load(from_link, None, [*inputs, *slider, scale], queue=False, **QUIET)
    for index in range(len(EXAMPLES)):

        def example(name: str, index: int = index) -> list[Any]:
            return found(example_settings(index, service, known[name]) | {"direction": name})

        controls["examples"][index].click(example, direction, [*inputs, *slider], queue=False, **QUIET)
    direction.input(chosen_direction, [direction, op], [controls["layer"], scale, *slider], queue=False, **QUIET)
    op.input(chosen_operator, [op, shown_for, direction, controls["dial"]], slider, queue=False, **QUIET)


def _wire_dial(controls: Parts) -> None:
    """Keep α and the number beside it together, in the page."""
    op, direction, slider, target = (controls[name] for name in ("op", "direction", "dial", "target"))

    def in_page(function: str) -> dict[str, Any]:
        return {"js": f"(...values) => window.rhat.{function}(...values)", "queue": False, **QUIET}

    gr.on([slider.input, slider.release], None, [slider, op, direction], target, **in_page("value"))
    target.input(None, [target, op, direction], slider, **in_page("position"))
    slider.change(None, slider, None, **in_page("follow"))
