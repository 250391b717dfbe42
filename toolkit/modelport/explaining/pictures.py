"""Images: SHAP values of superpixels, squares of a grid; an absent one has the mean colour."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.explaining import shapley
from modelport.explaining.outputs import Answering
from modelport.reports import ImageExplanation

if TYPE_CHECKING:
    from modelport.convert.base import Model
    from modelport.explaining.timed import Clock

Array = np.ndarray[Any, Any]

_GRIDS = (8, 7, 6, 5, 4, 3)  # squares along a side, as many as there is time for
_IMAGES = 4
_PERMUTATIONS = 5
_CHANNELS = (1, 3, 4)
_SMALLEST = 8  # pixels along a side of what is taken for an image
_THUMBNAIL = 64  # pixels
_BATCH = 16


def are_images(rows: Any) -> bool:
    """Whether rows are images: [n, channels, height, width] or [n, height, width, channels]."""
    if getattr(rows, "ndim", 0) != len("nchw"):
        return False
    side = rows.shape[2:] if _channels_first(rows) else rows.shape[1:3]
    has_channels = rows.shape[1] in _CHANNELS or rows.shape[3] in _CHANNELS
    return has_channels and min(side) >= _SMALLEST


def explain(model: Model, images: Array, clock: Clock) -> tuple[ImageExplanation, ...]:
    """Explain a few images: for each the output that is highest, the class the model sees in it.

    As many as there is time for, at least one, on a grid as fine as there is time for.
    """
    chosen = np.random.default_rng(0).permutation(len(images))[:_IMAGES]
    answering = Answering(model, images[chosen[:1]])
    before = clock.spent
    answered = answering(images[chosen])
    answers = clock.left / max((clock.spent - before) / len(chosen), 1e-9)
    grid, permutations = _affordable(answers, len(chosen))

    def one(places: Array) -> list[ImageExplanation]:
        return [
            _explained(answering, images[row], int(row), answered[place], grid, permutations)
            for place, row in ((place, chosen[place]) for place in places)
        ]

    clock.tell(f"asking about {grid * grid} superpixels an image")
    parts = clock.each(np.arange(len(chosen)), one)
    return tuple(image for part in parts for image in part)


def _affordable(answers: float, images: int) -> tuple[int, int]:
    """Return the finest grid that one image can have, and how often all can have it."""
    needed = {grid: shapley.evaluations_of(grid * grid) for grid in _GRIDS}
    grid = next((grid for grid in _GRIDS if needed[grid] <= answers), _GRIDS[-1])
    permutations = int(answers // (needed[grid] * images))
    return grid, min(_PERMUTATIONS, max(1, permutations))


def _explained(
    answering: Answering, image: Array, row: int, answered: Array, grid: int, permutations: int
) -> ImageExplanation:
    first, output = _channels_first(image[None]), int(np.argmax(answered))
    pixels = image if first else np.moveaxis(image, -1, 0)
    cells, mean = _cells(pixels.shape[1:], grid), pixels.mean(axis=(1, 2), keepdims=True)

    def predict(present: Array) -> Array:
        answers = []
        for some in np.array_split(present, -(-len(present) // _BATCH)):
            mixed = np.where(some[:, cells][:, None] > 0, pixels, mean).astype(image.dtype)
            given = mixed if first else np.moveaxis(mixed, 1, -1)
            answers.append(answering(given)[:, [output]])
        return np.concatenate(answers)

    all_present, none_present = np.ones((1, grid * grid)), np.zeros((1, grid * grid))
    values = shapley.permutation(predict, all_present, none_present, permutations)
    own = float(answered[output])
    return ImageExplanation(
        row=row,
        output=answering.meaning.name(output, len(answered)),
        base_value=float(values.base[0, 0]),
        output_value=own,
        values=tuple(map(tuple, values.values[0, :, 0].reshape(grid, grid).tolist())),
        residual=abs(float(values.total[0, 0]) - own),
        thumbnail=base64.b64encode(_png(_small(pixels))).decode(),
    )


def _channels_first(images: Array) -> bool:
    return images.shape[1] in _CHANNELS


def _cells(size: tuple[int, ...], grid: int) -> Array:
    """Return which square each pixel [h, w] belongs to, counted row by row."""
    down, across = (np.arange(side) * grid // side for side in size)
    return np.asarray(down[:, None] * grid + across[None])


def _small(pixels: Array) -> Array:
    """Return pixels [c, h, w] as bytes [h, w, c], at most a thumbnail's size a side."""
    step = max(1, -(-max(pixels.shape[1:]) // _THUMBNAIL))
    few = pixels[:3, ::step, ::step].astype(float)
    low, high = few.min(), few.max()
    bright = (few - low) / ((high - low) or 1.0) * 255
    return np.asarray(np.moveaxis(bright, 0, -1).round().astype(np.uint8))


def _png(pixels: Array) -> bytes:
    """Return bytes [h, w, 1 or 3] as a PNG file."""
    height, width, channels = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)  # 0: no filter
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if channels > 1 else 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
