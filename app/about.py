"""What answers here, how good it was measured to be, and what it cannot do. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from app import texts
from app.review import Bin

_FIGURES = {
    "family_top1": "First guess at the family right",
    "family_top3": "Family among the first three",
    "type_top1": "First guess at the type right",
    "coverage": "Sets that hold the true type",
    "set_size": "Types in a set, on average",
    "answer_rate": "Pictures that get an answer",
    "answers_right": "Answers that are right",
    "type_ece": "Calibration error (ECE, type)",
}
_KINDS = {
    "field": "distant, backlit, in formation: nearest to footage",
    "photo": "web photos",
    "frame": "video frames of three types",
    "drawn": "drawn by this project's own code",
}
LIMITS = (
    "It does not tell the operator. Markings are not read, and a type alone proves nothing about "
    "who flew it.",
    "It does not see what is too small: a speck of a few pixels carries no type.",
    "It knows only the types it was taught. Others may be called by their nearest relative; what "
    "looks more foreign than 95 % of known aircraft is unknown, a near relative often is not.",
    "Its probabilities were calibrated on pictures like its calibration pictures. Drawn, edited, "
    "infra-red or satellite pictures are not among them.",
    "It is a first look for a person who checks it, not a basis for a decision without one.",
)
PRIVATE = (
    "Everything runs on the machine that serves this page. It loads no font, no script and no "
    "picture from elsewhere and sends nothing. Uploads are deleted after an hour; what you review "
    "is copied into the reviews folder and stays there."
)


def about_html(
    model: Mapping[str, Any],
    metrics: Mapping[str, Any],
    looks: Sequence[str],
    n_types: int,
) -> str:
    """The model's card in short. `metrics` are a checkpoint's own, or those measured beside it."""
    rows = [
        ("Checkpoint", f"{model['name']} {model['version']}"),
        ("SHA-256", model["sha256"]),
        ("Engine", model["engine"]),
        ("Looks", "; ".join(looks)),
        ("Types", str(n_types)),
    ]
    listed = "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in rows)
    limits = "".join(f"<li>{escape(limit)}</li>" for limit in LIMITS)
    return (
        f'<section class="af-about"><h2>What answers here</h2><dl class="af-evidence">{listed}</dl>'
        f"{figures_html(metrics)}<h2>What it can't do</h2><ul>{limits}</ul>"
        f"<h2>Where your files go</h2><p>{escape(PRIVATE)}</p></section>"
    )


def figures_html(metrics: Mapping[str, Any]) -> str:
    """A table of what was measured: a column a kind of picture, value and 95 % interval."""
    kinds = metrics.get("kinds")
    if not kinds:
        return "<h2>Measured</h2><p>This checkpoint carries no figures.</p>"
    heads = "".join(
        f'<th scope="col">{escape(kind)}<br><span class="af-small">'
        f"{escape(_KINDS.get(kind, ''))} (n = {figures['family_top1']['n']})</span></th>"
        for kind, figures in kinds.items()
    )
    rows = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(f"<td>{_figure(figures.get(key), key)}</td>" for figures in kinds.values())
        + "</tr>"
        for key, name in _FIGURES.items()
        if any(key in figures for figures in kinds.values())
    )
    return (
        f"<h2>Measured on the {escape(str(metrics.get('split', '')))} split</h2>"
        '<p class="af-small">Value and 95 % interval. Pictures of these groups were not trained on.'
        '</p><div class="af-scroll" tabindex="0" role="region" aria-label="Measured figures">'
        f"<table><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _figure(figure: Mapping[str, Any] | None, key: str) -> str:
    if figure is None:
        return "–"
    low, high = figure.get("low"), figure.get("high")
    if key in ("set_size", "type_ece"):
        digits = 1 if key == "set_size" else 3
        span = "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
        return f"{figure['value']:.{digits}f}{span}"
    span = "" if low is None or high is None else f" [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{100 * figure['value']:.0f} %{span}"


def reliability_html(bins: Sequence[Bin], reviewed: int, denials: tuple[int, int] = (0, 0)) -> str:
    """How often the visitor agreed with answers, against how sure these were: a plot, and a table
    that says the same to who does not see it. `denials` are the reviewed answers `no_aircraft` and
    how many were right: they state no probability, so that they stand below the plot."""
    denied = f'<p class="af-small">{escape(texts.denied(*denials))}</p>' if denials[0] else ""
    if not bins:
        return denied or f'<p class="af-hint">{escape(texts.NO_REVIEWS)}</p>'
    points = "".join(_point(one) for one in bins)
    rows = "".join(
        f"<tr><td>{100 * b.low:.0f} to {100 * b.high:.0f} %</td><td>{b.n}</td>"
        f"<td>{100 * b.mean:.0f} %</td><td>{100 * b.right / b.n:.0f} %</td>"
        f"<td>{100 * b.floor:.0f} to {100 * b.ceiling:.0f} %</td></tr>"
        for b in bins
    )
    ticks = "".join(
        f'<text x="{_x(v)}" y="216" text-anchor="middle">{100 * v:.0f}</text>'
        f'<text x="34" y="{_y(v) + 4}" text-anchor="end">{100 * v:.0f}</text>'
        for v in (0, 0.25, 0.5, 0.75, 1)
    )
    return (
        f'<figure class="af-figure"><svg class="af-plot" viewBox="0 0 280 240" role="img" '
        f'aria-label="Reliability of {reviewed} reviewed answers; the table below says the same">'
        f'<path class="af-even" d="M{_x(0)},{_y(0)} L{_x(1)},{_y(1)}"/>'
        f'<path class="af-frame" d="M{_x(0)},{_y(1)} V{_y(0)} H{_x(1)}"/>{ticks}{points}'
        f'<text x="{_x(0.5)}" y="234" text-anchor="middle">stated, %</text>'
        '<text x="12" y="104" text-anchor="middle" transform="rotate(-90 12 104)">right, %</text>'
        f"</svg><figcaption>{escape(texts.RELIABILITY)}</figcaption></figure>"
        '<div class="af-scroll"><table><thead><tr><th scope="col">Stated</th><th scope="col">n</th>'
        '<th scope="col">Mean stated</th><th scope="col">Right</th><th scope="col">95 % interval'
        f"</th></tr></thead><tbody>{rows}</tbody></table></div>{denied}"
    )


def _x(value: float) -> float:
    return round(40 + 230 * value, 1)


def _y(value: float) -> float:
    return round(200 - 190 * value, 1)


def _point(one: Bin) -> str:
    x, share = _x(one.mean), one.right / one.n
    return (
        f'<path class="af-whisker" d="M{x},{_y(one.floor)} V{_y(one.ceiling)}"/>'
        f'<circle cx="{x}" cy="{_y(share)}" r="{min(3 + one.n**0.5, 9):.1f}"/>'
    )
