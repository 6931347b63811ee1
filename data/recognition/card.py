"""One recognition card: what to look for on one airframe type, every fact with its source."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

UNREFERENCED = "unreferenced"
"""The source of what is common knowledge of a type's configuration, yet read nowhere by name."""

CARDS = "cards"
"""The source of a pair of look-alikes whose halves repeat cues that are cited on the two cards."""

JOINT = "; "
"""What joins the cues that one half of such a pair repeats."""

WEFT: tuple[Literal["wings", "engines", "fuselage", "tail"], ...] = (
    "wings",
    "engines",
    "fuselage",
    "tail",
)

# From the smallest (a Predator's 2.1 m of height) to the largest (an An-124's span) with room.
_RANGES = {"length": (5.0, 90.0), "span": (3.0, 90.0), "rotor": (5.0, 40.0), "height": (1.5, 25.0)}


def _line(text: str) -> str:
    if not text.strip() or text != text.strip() or "\n" in text:
        raise ValueError("must be one line of text, without spaces around it")
    return text


Line = Annotated[str, Field(strict=True, max_length=240), AfterValidator(_line)]
Metres = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Entry):
    """Where a fact was read. address: a web address, or a file of this project."""

    title: Line
    address: Line


class Fact(NamedTuple):
    """One cue as it is shown. source: None where it is unreferenced, and must be shown as such."""

    text: str
    source: Source | None


class Cue(_Entry):
    """One thing to be seen. source: a key of the card's `sources`, or `unreferenced`."""

    cue: Line
    source: Line


class Measure(_Entry):
    """One dimension in metres. source: as in `Cue`."""

    metres: Metres
    source: Line


class Dimensions(_Entry):
    """Overall dimensions of one variant, metres.

    `variant` says of which, and what counts: with or without a probe, wings spread or swept.
    length: of an aeroplane overall, of a helicopter the fuselage unless `variant` says otherwise.
    span: of the wing, at its least sweep; None for a helicopter without one. swept_span: a swing
    wing at its greatest sweep. rotor: diameter of one main rotor. Each must lie in the range of
    real aircraft; an aeroplane is neither longer than 3.4 spans nor wider than 3.5 lengths, and
    nothing is higher than 0.6 lengths. What no source gives is left out.
    """

    variant: Line
    length: Measure | None = None
    span: Measure | None = None
    swept_span: Measure | None = None
    rotor: Measure | None = None
    height: Measure | None = None

    @model_validator(mode="after")
    def _plausible(self) -> Self:
        for name, (low, high) in _RANGES.items():
            measure = getattr(self, name)
            if measure is not None and not low <= measure.metres <= high:
                raise ValueError(f"{name} {measure.metres:g} m is outside {low:g} to {high:g} m")
        if self.length and self.height and self.height.metres > 0.6 * self.length.metres:
            raise ValueError("height is above 0.6 lengths: are two numbers swapped?")
        if self.rotor is None and self.span and self.length:
            ratio = self.span.metres / self.length.metres
            if not 1 / 3.4 <= ratio <= 3.5:
                raise ValueError(f"span is {ratio:.2f} lengths: are two numbers swapped?")
        if self.swept_span is not None and (
            self.span is None or self.swept_span.metres >= self.span.metres
        ):
            raise ValueError("swept_span must be less than span")
        return self

    def measures(self) -> dict[str, Measure]:
        """The dimensions that are known, by name."""
        names = ("length", "span", "swept_span", "rotor", "height")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class LookAlike(_Entry):
    """Another type that this one is taken for. here: what this type shows; there: what that shows.

    A pair stands on one of its two cards only; `look_alikes` shows it from both. source: as in
    `Cue`, or `cards` where each half is cited cues of its type, word for word, joined by "; ".
    """

    type: Line
    here: Line
    there: Line
    source: Line


class Names(_Entry):
    """designation: as the maker or the air force writes it; variants under this type included.

    nato: the reporting name, the taxonomy's own. common: nicknames and official names.
    """

    designation: Annotated[tuple[Line, ...], Field(min_length=1)]
    nato: Line | None
    common: tuple[Line, ...] = ()


class Weft(_Entry):
    """Wings, engines, fuselage, tail: at least one cue each."""

    wings: Annotated[tuple[Cue, ...], Field(min_length=1)]
    engines: Annotated[tuple[Cue, ...], Field(min_length=1)]
    fuselage: Annotated[tuple[Cue, ...], Field(min_length=1)]
    tail: Annotated[tuple[Cue, ...], Field(min_length=1)]


class Card(_Entry):
    """One card; without dimensions where no source gives any.

    Every `source` is a key of `sources` or `unreferenced`, and no source is unused.

    A pair's may be `cards` too: whether it may is seen only with the other card at hand.
    """

    type: Line
    family: Line
    names: Names
    weft: Weft
    dimensions: Dimensions | None = None
    look_alikes: tuple[LookAlike, ...] = ()
    sources: dict[str, Source] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sourced(self) -> Self:
        for marker in (UNREFERENCED, CARDS):
            if marker in self.sources:
                raise ValueError(f"sources: {marker!r} is a marker, not a source")
        if CARDS in self._of_cues_and_measures():
            raise ValueError(f"source {CARDS!r} is for look_alikes only")
        cited = set(self.cited())
        missing = sorted(cited - set(self.sources) - {UNREFERENCED, CARDS})
        if missing:
            raise ValueError(f"source {missing[0]!r} is cited but not under 'sources'")
        unused = sorted(set(self.sources) - cited)
        if unused:
            raise ValueError(f"source {unused[0]!r} is under 'sources' but cited nowhere")
        others = [pair.type for pair in self.look_alikes]
        if self.type in others or len(set(others)) < len(others):
            raise ValueError("look_alikes: each names another type, and each once")
        return self

    def measures(self) -> dict[str, Measure]:
        """The dimensions that are known, by name."""
        return {} if self.dimensions is None else self.dimensions.measures()

    def cited(self) -> tuple[str, ...]:
        """The source of every fact of the card, in its order, the two markers included."""
        return (*self._of_cues_and_measures(), *(pair.source for pair in self.look_alikes))

    def _of_cues_and_measures(self) -> tuple[str, ...]:
        measures = [measure.source for measure in self.measures().values()]
        return (*(cue.source for cue in self._cues()), *measures)

    def _cues(self) -> tuple[Cue, ...]:
        return tuple(cue for part in WEFT for cue in getattr(self.weft, part))

    def repeated(self, half: str) -> tuple[Source, ...]:
        """The sources of the cues of this card that one half of a pair joins by "; ".

        Raises ValueError, naming the part that is no cue of this card with a source.
        """
        cited = {c.cue: c.source for c in self._cues() if c.source != UNREFERENCED}
        keys, rest = [], half.split(JOINT)
        while rest:  # the longest first: a cue may hold the joint itself
            starts = [JOINT.join(rest[:end]) for end in range(len(rest), 0, -1)]
            cue = next((start for start in starts if start in cited), None)
            if cue is None:
                raise ValueError(f"{rest[0]!r} is no cue with a source on the card of {self.type}")
            keys.append(cited[cue])
            rest = rest[len(cue.split(JOINT)) :]
        return tuple(self.sources[key] for key in keys)

    def source(self, key: str) -> Source | None:
        """The source that a fact's `source` names; None for `unreferenced`."""
        return None if key == UNREFERENCED else self.sources[key]

    def facts(self, part: str) -> tuple[Fact, ...]:
        """The cues of one part of WEFT, in the card's order."""
        cues: tuple[Cue, ...] = getattr(self.weft, part)
        return tuple(Fact(cue.cue, self.source(cue.source)) for cue in cues)
