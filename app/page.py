"""The page: what stands where, and how it is served. What happens then is in `app.wiring`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app import markup, pictures, texts
from app.limits import PageLimits
from app.offline import keep_offline
from app.wiring import Parts, theatres, wire
from data.images import FORMATS, IMAGE_SUFFIXES, Limits, StillError, open_still
from data.taxonomy import Taxonomy
from data.video import VIDEO_SUFFIXES, is_clip, open_clip

if TYPE_CHECKING:
    from app.answers import Answers

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
REVIEWS = Path("out/reviews")
# Strings would make gradio look for web fonts; a Font is taken as installed.
SANS = [gr.themes.Font(name) for name in ("system-ui", "Segoe UI", "Roboto", "sans-serif")]
MONO = [gr.themes.Font(name) for name in ("ui-monospace", "Consolas", "monospace")]


def build_page(
    model: Future[Answers], limits: PageLimits | None = None, reviews: Path = REVIEWS
) -> gr.Blocks:
    """The page, not yet served. It shows at once, and answers when `model` is there."""
    limits = limits or PageLimits()
    examples = example_files()
    with gr.Blocks(
        title=f"{texts.TITLE}: aircraft types in stills and clips",
        analytics_enabled=False,
        delete_cache=(limits.sweep_seconds, limits.keep_seconds),
    ) as page:
        _html(markup.intro_html())
        status = _html(markup.loading_html(), elem_id="status")
        with gr.Tabs():
            with gr.Tab("Identify"):
                identify = _identify(examples, limits)
            with gr.Tab("Review"):
                review = _review()
            with gr.Tab("About"):
                about = _html("")
        saved = _html("", "save", html_template="<i></i>", elem_id="saved", visible="hidden")
        shown: dict[str, Any] = {"status": status, "about": about, "saved": saved}
        parts = Parts(page=page, **shown, **identify, **review)
        wire(parts, model, examples, limits, reviews)
    return page


def _html(value: str, script: str = "", **more: Any) -> gr.HTML:
    """HTML of our own: neither gradio's looks for text nor its default script on it."""
    code = (HERE / "scripts" / f"{script}.js").read_text("utf-8") if script else None
    return gr.HTML(value, apply_default_css=False, js_on_load=code, **more)


def example_files() -> list[Path]:
    """The examples by name, the sky without anything last: who tries one wants to see an answer."""
    shown = [p for p in EXAMPLES.iterdir() if p.suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
    return sorted(shown, key=lambda path: (path.stem == "empty-sky", path.name))


def _identify(examples: list[Path], limits: PageLimits) -> dict[str, Any]:
    with gr.Row(elem_classes="af-columns"):
        with gr.Column(min_width=320, scale=5, elem_classes="af-left"):
            upload = gr.File(
                label="Stills or clips: drop, pick or paste",
                file_count="multiple",
                file_types=sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES),
                height=150,
                elem_id="upload",
            )
            progress = _html("", elem_id="progress")
            stop = gr.Button("Stop, keep what is done", size="sm", visible=False, elem_id="stop")
            stage = _html("", "stage", elem_id="stage")
            shown = [(_example_thumb(p), texts.example_caption(p.stem, _types())) for p in examples]
            with gr.Column(visible=False, elem_id="keeping") as keeping:
                made = _keeping()
            with gr.Column(elem_id="examples-part"):
                _html(
                    markup.hint_html(
                        FORMATS, Limits().max_bytes, limits.max_bytes, limits.clip_seconds
                    )
                )
                example = _html(markup.examples_html(shown), "pick", elem_id="examples")
        with gr.Column(min_width=320, scale=6, elem_classes="af-right"):
            table = _html("", "table", elem_id="table")
            answer = _html(markup.waiting_html(), "pick", elem_id="answer")
    return {
        "upload": upload,
        "progress": progress,
        "stop": stop,
        "stage": stage,
        "example": example,
        "table": table,
        "answer": answer,
        "keeping": keeping,
        **made,
    }


def _keeping() -> dict[str, Any]:
    """What a person does with an answer: review it, save it, read its record."""
    _html(markup.heading_html("Your review", texts.REVIEW))
    with gr.Row(elem_classes="af-buttons"):
        confirm = gr.Button("Confirm", size="sm", elem_id="confirm", min_width=80)
        empty = gr.Button("No aircraft", size="sm", elem_id="empty", min_width=80)
        aside = gr.Button("Set aside", size="sm", elem_id="aside", min_width=80)
    with gr.Row(elem_classes="af-buttons"):
        node = gr.Dropdown(_labels(), value=None, label="It shows", elem_id="node", min_width=160)
        correct = gr.Button("Correct", size="sm", elem_id="correct", min_width=80)
    told = _html("", elem_id="told")
    _html(markup.heading_html("Who flew it", texts.THEATRE))
    with gr.Row(elem_classes="af-buttons"):
        choices = [("Not asked", ""), *((name, name) for name in theatres())]
        theatre = gr.Dropdown(choices, value="", label="Theatre", elem_id="theatre", min_width=160)
        day = gr.Textbox(label="Day, YYYY-MM-DD", max_lines=1, elem_id="day", min_width=120)
    prior = gr.Checkbox(False, label=texts.COUNT_IN, elem_id="prior", container=False)
    _html(markup.heading_html("Save this case", texts.SAVE))
    with gr.Row(elem_classes="af-buttons"):
        saves = {
            how: gr.Button(name, size="sm", elem_id=f"save-{how}", min_width=90)
            for how, name in (("html", "Report (HTML)"), ("jsonl", "JSONL"), ("csv", "CSV"))
        }
    clear = gr.Button("Start a new case", size="sm", elem_id="clear")
    with gr.Accordion("The record, as JSON", open=False):
        record = gr.JSON(show_label=False, open=True, elem_id="record")
    return {
        "confirm": confirm,
        "aside": aside,
        "empty": empty,
        "node": node,
        "correct": correct,
        "told": told,
        "theatre": theatre,
        "day": day,
        "prior": prior,
        "saves": saves,
        "clear": clear,
        "record": record,
    }


def _review() -> dict[str, Any]:
    _html(f'<section class="af-about"><h2>Your reviews</h2><p>{texts.REVIEWS}</p></section>')
    plot = _html("", elem_id="plot")
    manifest = gr.Button("Export a manifest for train.py", size="sm", elem_id="manifest")
    return {"plot": plot, "manifest": manifest, "exported": _html("", elem_id="exported")}


def _types() -> tuple[str, ...]:
    return Taxonomy.load().types


def _labels() -> list[tuple[str, str]]:
    """Every type and family that a person may say it shows: (label, node)."""
    taxonomy = Taxonomy.load()
    nodes = [*taxonomy.nodes("type"), *taxonomy.nodes("family")]
    types = {node.name for node in taxonomy.nodes("type")}
    return [
        (node.label, node.id)
        for node in nodes
        if node.rank == "type" or node.label != node.name or node.name not in types
    ]


def _example_thumb(path: Path) -> str:
    """A small view of an example; of a clip its first frame. Raises StillError."""
    if not is_clip(path):
        return pictures.thumb_uri(open_still(path).rgb)
    for frame in open_clip(path).frames():
        return pictures.thumb_uri(frame.rgb)
    raise StillError("unreadable_video", f"{path}: no frame in it")


def serve_page(
    page: gr.Blocks,
    host: str,
    port: int,
    limits: PageLimits | None = None,
    auth: Callable[[str, str], bool] | None = None,
) -> str:
    """Serve in the background; returns the address. Raises OSError where the port is taken."""
    limits = limits or PageLimits()
    keep_offline()
    page.queue(max_size=limits.queue, default_concurrency_limit=limits.at_once)
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        inbrowser=False,
        share=False,
        auth=auth,
        max_file_size=limits.max_bytes,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Base(
            primary_hue="sky", secondary_hue="sky", neutral_hue="slate", font=SANS, font_mono=MONO
        ),
        css_paths=HERE / "style.css",
        js=(HERE / "scripts" / "page.js").read_text("utf-8"),
    )
    return str(address)
