"""What lies behind an aircraft: skies from clear to dusk, and ground."""

import cv2
import numpy as np

SKIES = ("clear", "haze", "overcast", "broken", "dusk", "terrain", "urban")
"""The kinds of background; the last two have ground in them."""


def draw_sky(
    rng: np.random.Generator, width: int, height: int, kind: str | None = None
) -> np.ndarray:
    """A background of one of SKIES, drawn at random if kind is None: (height, width, 3) uint8 RGB.

    Deterministic in rng. ValueError for an unknown kind or a side below 8 pixels.
    """
    if min(width, height) < 8:
        raise ValueError(f"a background needs sides of at least 8 pixels, not {width}x{height}")
    chosen = SKIES[rng.integers(len(SKIES))] if kind is None else kind
    if chosen not in SKIES:
        raise ValueError(f"no sky {chosen!r}; known: {', '.join(SKIES)}")
    if chosen in ("terrain", "urban"):
        picture = _ground(rng, width, height, chosen)
    elif chosen in ("overcast", "broken"):
        picture = _clouded(rng, width, height, chosen)
    else:
        picture = _open_sky(rng, width, height, chosen)
    cast = rng.normal(0, 2, 3).astype(np.float32)
    return np.clip(picture + cast, 0, 255).astype(np.uint8)


def fractal(
    rng: np.random.Generator, width: int, height: int, *, coarse: int = 3, octaves: int = 5
) -> np.ndarray:
    """Cloud-like noise (height, width) float32 with mean near 0 and deviation near 1.

    coarse: how many blobs span the picture's longer side in the first octave.
    """
    longer = max(width, height)
    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(octaves):
        cells = coarse * 2**octave
        if cells > longer:
            break
        shape = (max(2, cells * height // longer + 1), max(2, cells * width // longer + 1))
        grid = rng.standard_normal(shape, dtype=np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.55**octave
    return total


def _ramp(height: int, width: int, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """A vertical gradient, (height, width, 3) float32."""
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    column = top.astype(np.float32) * (1 - share) + bottom.astype(np.float32) * share
    return np.repeat(column, width, axis=1)


def _open_sky(rng: np.random.Generator, width: int, height: int, kind: str) -> np.ndarray:
    tint = rng.uniform(-14, 14)
    top, bottom = {
        "clear": ((70, 122, 190), (150, 190, 226)),
        "haze": ((176, 190, 202), (206, 211, 213)),
        "dusk": ((58, 66, 104), (226, 150, 104)),
    }[kind]
    # A long lens sees only part of the sky's gradient.
    reach = rng.uniform(0.25, 1.0)
    high, low = np.array(top, dtype=float), np.array(bottom, dtype=float)
    start = rng.uniform(0, 1 - reach)
    picture = _ramp(height, width, *(high + (low - high) * at for at in (start, start + reach)))
    wisps = fractal(rng, width, height, coarse=2, octaves=4)[..., None]
    weight = {"clear": 3.0, "haze": 4.0, "dusk": 7.0}[kind]
    return picture + tint + wisps * weight


def _clouded(rng: np.random.Generator, width: int, height: int, kind: str) -> np.ndarray:
    noise = fractal(rng, width, height, coarse=int(rng.integers(2, 5)), octaves=7)
    if kind == "overcast":
        level = rng.uniform(135, 215)
        base = np.array([level - 4, level, level + 5])
        return _ramp(height, width, base - 8, base + 8) + noise[..., None] * rng.uniform(4, 14)
    blue = _open_sky(rng, width, height, "clear")
    cover = np.clip((noise + rng.uniform(-0.5, 0.7)) * 1.4, 0, 1)[..., None]
    # The cloud's underside is greyer: light falls off downwards inside it.
    drop = max(height // 24, 1)
    above = np.concatenate([noise[:1].repeat(drop, axis=0), noise[:-drop]])
    lit = np.clip(noise - above, -1, 1)[..., None]
    cloud = np.array([226, 230, 235], dtype=np.float32) + 26 * lit - 14 * np.abs(noise[..., None])
    return blue * (1 - cover) + cloud * cover


def _ground(rng: np.random.Generator, width: int, height: int, kind: str) -> np.ndarray:
    """A hazy sky over land; the skyline may lie above the picture, leaving only land."""
    sky = _open_sky(rng, width, height, "haze" if rng.random() < 0.5 else "clear")
    line = height * rng.uniform(-0.3, 0.8)
    ridge = line + fractal(rng, width, 8, coarse=4, octaves=6)[4] * height * 0.03
    land = _fields(rng, width, height)
    if kind == "urban":
        rise, walls = _roofs(rng, width, height)
        land = _clutter(rng, land, float(ridge.max()))
        standing = np.arange(height)[:, None] < ridge[None, :] + height * 0.02
        land[standing] = np.broadcast_to(walls[:, None], (height, width, 1))[standing]
        ridge = ridge - rise
    under = np.arange(height, dtype=np.float32)[:, None] - ridge[None, :]
    # Distance haze: strongest along the skyline.
    clear = 1 - 0.75 * rng.uniform(0.4, 1.0) * np.exp(np.clip(under, 0, None) * (-5 / height))
    air = sky.mean(axis=(0, 1))
    land -= air
    land *= clear[..., None]
    land += air
    land -= sky
    land *= np.clip(under + 0.5, 0, 1)[..., None]
    return sky + land


def _fields(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Woods, grass and bare soil."""
    palette = np.array([[74, 88, 52], [116, 118, 74], [142, 126, 96], [58, 72, 50]])
    one, two = palette[rng.choice(len(palette), 2, replace=False)].astype(np.float32)
    mix = np.clip(fractal(rng, width, height, coarse=5, octaves=6) * 0.6 + 0.5, 0, 1)[..., None]
    grain = fractal(rng, width, height, coarse=40, octaves=2)[..., None]
    return one + (two - one) * mix + grain * 9


def _roofs(rng: np.random.Generator, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """How far buildings and masts rise above the skyline in each column, and how light they are.

    Both (width,) float32: pixels, and grey levels 0..255.
    """
    rise = np.zeros(width, dtype=np.float32)
    level = np.full(width, 110, dtype=np.float32)
    for _ in range(int(rng.integers(8, 22))):
        left = int(rng.integers(width))
        span = slice(left, left + max(2, int(width * rng.uniform(0.02, 0.12))))
        tall = height * rng.uniform(0.02, 0.16)
        level[span] = np.where(rise[span] < tall, rng.uniform(80, 170), level[span])
        rise[span] = np.maximum(rise[span], tall)
    mast = int(rng.integers(width))
    rise[mast : mast + max(1, width // 300)] += height * rng.uniform(0.05, 0.25)
    return rise, level


def _clutter(rng: np.random.Generator, land: np.ndarray, skyline: float) -> np.ndarray:
    """Walls, roofs and windows over the land, small under the skyline and larger towards us."""
    height, width = land.shape[:2]
    picture = np.ascontiguousarray(land)
    first = max(0, int(skyline))
    if first >= height:
        return picture
    for y in np.sort(rng.integers(first, height, int(rng.integers(50, 100)))):
        scale = (0.25 + (y - skyline) / height) * rng.uniform(0.5, 1.3)
        x = int(rng.integers(-20, width))
        wide, tall = max(3, int(0.10 * width * scale)), max(3, int(0.12 * height * scale))
        _building(rng, picture, x, int(y) - tall // 2, wide, tall)
    return cv2.blur(picture, (3, 3))


def _building(
    rng: np.random.Generator, picture: np.ndarray, x: int, y: int, wide: int, tall: int
) -> None:
    """A wall with a lighter roof above it and a few rows of windows."""
    level, warm = rng.uniform(80, 170), rng.uniform(-10, 18)
    wall = (level + warm, level, level - warm * 0.8)
    shade = rng.uniform(0.75, 1.25)
    roof = tuple(channel * shade for channel in wall)
    cv2.rectangle(picture, (x, y), (x + wide, y + tall), wall, -1)
    cv2.rectangle(picture, (x, y), (x + wide, y + tall // 3), roof, -1)
    if wide < 14:
        return
    pane = tuple(0.72 * channel for channel in wall)
    for row in range(y + tall // 2, y + tall - 1, max(3, tall // 5)):
        for column in range(x + 2, x + wide - 2, max(3, wide // 6)):
            cv2.rectangle(picture, (column, row), (column + wide // 14, row + tall // 14), pane, -1)
