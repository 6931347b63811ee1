"""The page's wiring: a file in, the predictor's record out, and where each part stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from airframe.predictor import Predictor, Settings
from airframe.record import answer_record, failure_record
from app import words
from app.offline import keep_offline
from data.images import FORMATS, IMAGE_SUFFIXES, Limits, Still, StillError, open_still

EXAMPLES = Path(__file__).parent.parent / "examples"
STYLE = Path(__file__).with_name("style.css")
PREVIEW = (1280, 960)
QUEUE = 16
CACHE_SECONDS = 3600
# Strings would make gradio look for web fonts; a Font is taken as installed.
SANS = [gr.themes.Font(name) for name in ("system-ui", "Segoe UI", "Roboto", "sans-serif")]
MONO = [gr.themes.Font(name) for name in ("ui-monospace", "Consolas", "monospace")]

Record = dict[str, Any]


def answer_file(path: str, name: str, predictor: Predictor) -> tuple[Still | None, list[Record]]:
    """The records of the file at `path`, one an aircraft, told under its own `name`; the still
    where it opened."""
    settings = Settings()
    try:
        still = replace(open_still(path), path=name)
    except StillError as error:
        # The visitor knows the file by its name, not by the server's folders.
        told = StillError(error.code, error.message.replace(path, name))
        return None, [failure_record(name, told, predictor, settings)]
    try:
        predictions = predictor.predict([still], settings)[0]
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        told = StillError("inference_error", f"{name}: the network failed on it: {first}")
        return still, [failure_record(name, told, predictor, settings)]
    return still, [answer_record(still, one, predictor, settings) for one in predictions]


def build_page(predictor: Predictor) -> gr.Blocks:
    """The page, not yet served."""
    examples = sorted(EXAMPLES.glob("*.jpg"))
    # Neither gradio's looks for text nor its default script on our own HTML.
    plain: dict[str, Any] = {"apply_default_css": False, "js_on_load": None}
    with gr.Blocks(
        title=f"{words.TITLE}: aircraft types in stills",
        analytics_enabled=False,
        delete_cache=(CACHE_SECONDS, CACHE_SECONDS),
    ) as page:
        gr.HTML(words.intro_html(), **plain)
        with gr.Row(elem_classes="af-columns"):
            with gr.Column(min_width=320):
                upload = gr.File(
                    label="A still",
                    file_types=sorted(IMAGE_SUFFIXES),
                    height=132,
                    elem_id="upload",
                )
                preview = gr.Image(
                    label=words.PREVIEW,
                    alt_text=words.PREVIEW,
                    interactive=False,
                    buttons=["fullscreen"],
                    visible=False,
                    elem_id="preview",
                )
                gr.HTML(words.hint_html(FORMATS, Limits().max_bytes), **plain)
                gallery = gr.Gallery(
                    [(str(p), words.example_caption(p.stem, predictor.classes)) for p in examples],
                    label="Examples",
                    show_label=False,
                    columns=3,
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_id="examples",
                )
            with gr.Column(min_width=320):
                answer = gr.HTML(words.waiting_html(), elem_id="answer", **plain)
                with gr.Accordion("The record, as JSON", open=False):
                    record = gr.JSON(show_label=False, open=True, elem_id="record")
        _wire(upload, gallery, [preview, answer, record], examples, predictor)
    return page


def _wire(
    upload: gr.File,
    gallery: gr.Gallery,
    shown: list[Any],
    examples: list[Path],
    predictor: Predictor,
) -> None:
    # gr.File would hand over a path whose name it has stripped of signs; its raw value has both.
    def on_upload(given: dict[str, Any]) -> tuple[Any, ...]:
        name = Path(given.get("orig_name") or given["path"]).name
        return _show(*answer_file(given["path"], name, predictor))

    def on_example(picked: gr.SelectData) -> tuple[Any, ...]:
        path = examples[picked.index]
        shown_now = _show(*answer_file(str(path), path.name, predictor))
        # Unselected at once: a thumbnail that stays selected cannot be picked a second time.
        return gr.Gallery(selected_index=None), str(path), *shown_now

    def on_clear() -> tuple[Any, ...]:
        return gr.Image(value=None, visible=False), words.waiting_html(), None

    # Full: the last answer must not stand uncovered beside a new file's name.
    look: dict[str, Any] = {
        "show_progress": "full",
        "show_progress_on": shown[1],
        "concurrency_id": "predictor",
    }
    upload.upload(on_upload, upload, shown, preprocess=False, api_name="answer", **look)
    gallery.select(on_example, None, [gallery, upload, *shown], api_visibility="private", **look)
    upload.clear(on_clear, None, shown, api_visibility="private", queue=False)


def _show(still: Still | None, records: list[Record]) -> tuple[Any, ...]:
    """Values of the preview, the answer and the record: an object, a list for several aircraft."""
    picture = None if still is None else _preview(still, records)
    return (
        gr.Image(value=picture, visible=picture is not None),
        words.answers_html(records),
        records[0] if len(records) == 1 else records,
    )


def _preview(still: Still, records: list[Record]) -> Image.Image:
    """The picture with the boxes that were looked at, numbered where there are several."""
    picture = Image.fromarray(still.rgb)
    picture.thumbnail(PREVIEW)
    scale = picture.width / still.width
    draw = ImageDraw.Draw(picture)
    for number, record in enumerate(records, 1):
        if not record["box"]:
            continue
        x0, y0, x1, y1 = (round(edge * scale) for edge in record["box"])
        # Dark around light: it shows on sky and on ground, whatever colours a reader can tell.
        draw.rectangle((x0, y0, x1, y1), outline="black", width=4)
        draw.rectangle((x0 + 1, y0 + 1, x1 - 1, y1 - 1), outline="white", width=2)
        if len(records) > 1:
            draw.text((x0 + 6, y0 + 4), str(number), "white", None, stroke_width=2, stroke_fill=0)
    return picture


def serve_page(page: gr.Blocks, host: str, port: int) -> str:
    """Serve in the background; returns the address. Raises OSError where the port is taken."""
    keep_offline()
    page.queue(max_size=QUEUE, default_concurrency_limit=1)
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        inbrowser=False,
        share=False,
        max_file_size=Limits().max_bytes,
        allowed_paths=[str(EXAMPLES)],
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Base(
            primary_hue="sky", secondary_hue="sky", neutral_hue="slate", font=SANS, font_mono=MONO
        ),
        css_paths=STYLE,
    )
    return str(address)
